// Makes a graph ready for the native executor: activations joined to what computes their input,
// and a layout for every value.
#pragma once

#include <vector>

#include "graph/graph.h"
#include "runtime/network/network_operator.h"

namespace bitsmith {

// The graph with each relu or clip that alone reads a conv, linear or add as the attributes `low`
// and `high` of that node. Values keep their ids.
Graph join_activations(const Graph& graph);

struct LaidOutGraph {
  Graph graph;                  // with nodes "relayout" where a value is wanted in the other layout
  std::vector<Layout> layouts;  // [values]
  Encodings encodings;          // [values]
};

// Convolutions and pools want channels last, matrix products plain rows; operators that do not care
// follow. Outputs of the graph are plain copies. Throws kUnsupported naming a node whose operator
// has no native implementation.
//   encodings [values]
LaidOutGraph lay_out(const Graph& graph, const Encodings& encodings);

}  // namespace bitsmith
