// Windows that slide over the spatial axes of a tensor.
#pragma once

#include "graph/graph.h"
#include "reference/torch.h"

namespace bitsmith::reference {

// x [B, C, X...] -> [B, C, Y..., K...]: the cells of every window of a convolution or pool with the
// attributes pads, strides and dilations; padding is `value`. A view but for the padding.
at::Tensor windows(const Node& node, const std::vector<int64_t>& kernel, const at::Tensor& x,
                   double value);

}  // namespace bitsmith::reference
