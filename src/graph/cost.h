// What a graph computes, in multiplications.
#pragma once

#include "graph/graph.h"

namespace bitsmith {

// Multiply-adds of a node in matrix products and convolutions, for one image or one token (B = 1,
// T = 1); 0 for all other operators, and for attention, whose cost depends on T. Saturates.
int64_t multiply_adds(const Graph& graph, const Node& node);

}  // namespace bitsmith
