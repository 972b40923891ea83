// Products of matrices.
#pragma once

#include "graph/graph.h"

namespace bitsmith::ops {

// x · weightᵀ + bias:  x [..., C], weight [O, C], bias [O] or kNoValue -> [..., O]
ValueId linear(Graph& graph, std::string name, ValueId x, ValueId weight, ValueId bias = kNoValue);

// a · b for each of the matrices that the extents before the last two number; those broadcast as in
// NumPy.  a [..., M, K], b [..., K, N] -> [..., M, N]. Either may be an activation or a parameter.
ValueId matmul(Graph& graph, std::string name, ValueId a, ValueId b);

// A randomised Hadamard rotation of each run of n = m 2^k channels, m odd and at most 512:
// x diag(signs) S,  or its inverse,  x S diag(signs).  signs [n] are 1 or -1;  x [..., r n] -> the
// same shape.
//   S = M ⊗ H, symmetric and orthogonal: channel i 2^k + a, 0 <= i < m, 0 <= a < 2^k
//   H[a, b] = 2^(-k/2) (-1)^popcount(a & b), Sylvester's Hadamard matrix
//   M[i, j] = (cos t + sin t) / sqrt(m), t = 2π i j / m, the discrete Hartley transform
ValueId hadamard(Graph& graph, std::string name, ValueId x, ValueId signs, bool inverse = false);

}  // namespace bitsmith::ops
