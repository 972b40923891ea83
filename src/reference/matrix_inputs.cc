#include "reference/matrix_inputs.h"

#include "core/error.h"
#include "reference/convolution_windows.h"

namespace bitsmith {

at::Tensor matrix_inputs(const Node& node, const Shape& weight, const at::Tensor& x) {
  if (node.op == "linear") return x.reshape({-1, 1, x.size(-1)});
  BITSMITH_ASSERT(node.op == "conv");
  const Shape kernel(weight.begin() + 2, weight.end());
  const at::Tensor cells = reference::windows(node, kernel, x, 0);  // [B, C, Y..., K...]
  const auto axes = static_cast<int64_t>(kernel.size());
  std::vector<int64_t> order = {0};
  for (int64_t i = 0; i < axes; ++i) order.push_back(2 + i);
  order.push_back(1);
  for (int64_t i = 0; i < axes; ++i) order.push_back(2 + axes + i);
  const int64_t groups = node.integer("groups");
  return cells.permute(order).reshape({-1, groups, *element_count(weight) / weight[0]});
}

at::Tensor matrix_products(const at::Tensor& inputs, const at::Tensor& matrix) {
  const int64_t groups = inputs.size(1);
  const at::Tensor rows = matrix.reshape({groups, -1, inputs.size(2)});
  // [groups, positions, cols] * [groups, cols, O / groups]
  const at::Tensor products = at::bmm(inputs.transpose(0, 1), rows.transpose(1, 2));
  return products.transpose(0, 1).reshape({inputs.size(0), matrix.size(0)});
}

at::Tensor output_rows(const Node& node, const at::Tensor& y) {
  const at::Tensor last = node.op == "conv" ? y.movedim(1, -1) : y;
  return last.flatten(0, -2);
}

}  // namespace bitsmith
