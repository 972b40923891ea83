// Neighbouring operators that one pass over memory can compute together.
#pragma once

#include "graph/graph.h"

namespace bitsmith {

// The graph with silu(gate) * up as one node "silu_multiply" (inputs gate, up), and gelu_tanh as
// "gelu_tanh_multiply", which the native executor knows and Registry<Operator> does not, wherever
// nobody else reads silu(gate). Values keep their ids.
Graph fuse_graph(const Graph& graph);

}  // namespace bitsmith
