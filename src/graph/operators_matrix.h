// Products of matrices.
#pragma once

#include "graph/graph.h"

namespace bitsmith::ops {

// x · weightᵀ + bias:  x [..., C], weight [O, C], bias [O] or kNoValue -> [..., O]
ValueId linear(Graph& graph, std::string name, ValueId x, ValueId weight, ValueId bias = kNoValue);

// a · b for each of the matrices that the extents before the last two number; those broadcast as in
// NumPy.  a [..., M, K], b [..., K, N] -> [..., M, N]. Either may be an activation or a parameter.
ValueId matmul(Graph& graph, std::string name, ValueId a, ValueId b);

}  // namespace bitsmith::ops
