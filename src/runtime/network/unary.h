// The functions of one element of graph/operators_elementwise.h, as numbers.
#pragma once

#include <span>

#include "graph/graph.h"

namespace bitsmith {

bool is_unary(std::string_view op);

// x[i] = op(x[i]) with the node's attributes; `op` is unary.
void apply_unary(std::string_view op, const Node& node, std::span<float> x);

}  // namespace bitsmith
