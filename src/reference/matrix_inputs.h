// What the nodes that multiply by a matrix multiply it with, for convolutions too.
#pragma once

#include "graph/graph.h"
#include "reference/torch.h"

namespace bitsmith {

// The rows x of the products W x that a node computes, [positions, groups, cols]:
//   linear  x [..., C]: every position's channels; one group, cols = C
//   conv    x [B, C, X...]: the patch under the kernel at every output position, channel by
//           channel as a row of the weight [O, C / groups, K...] has them
//   weight: the shape of the node's matrix;  O(positions * groups * cols) bytes
at::Tensor matrix_inputs(const Node& node, const Shape& weight, const at::Tensor& x);

// The products with a matrix [O, ...] of the node's shape, [positions, O]: output o reads group
// o / (O / groups).
at::Tensor matrix_products(const at::Tensor& inputs, const at::Tensor& matrix);

// The channels of a node's output (or of its derivative) side by side, [positions, O]:
// convolutions have them at axis 1, other nodes last.
at::Tensor output_rows(const Node& node, const at::Tensor& y);

}  // namespace bitsmith
