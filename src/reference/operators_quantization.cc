// Operators of graph/operators_quantization.h in torch.
#include <cmath>

#include "reference/operators.h"

namespace bitsmith::reference {
namespace {

// A parameter [] or [n] shaped to broadcast along the node's axis of x; 0 if it is not given.
at::Tensor along_axis(const Node& node, const at::Tensor& x, const at::Tensor& parameter) {
  if (!parameter.defined()) return at::zeros({}, x.options());
  if (parameter.dim() == 0) return parameter;
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[static_cast<size_t>(node.integer("axis"))] = -1;
  return parameter.view(shape);
}

at::Tensor quantize(const Node& node, const Inputs& in) {
  const at::Tensor codes = at::round(in[0] / along_axis(node, in[0], in[1]));
  return at::clamp(codes + along_axis(node, in[0], in[2]), node.integer("low"),
                   node.integer("high"));
}

at::Tensor dequantize(const Node& node, const Inputs& in) {
  return (in[0] - along_axis(node, in[0], in[2])) * along_axis(node, in[0], in[1]);
}

// Derivatives pass through as if nothing was rounded (the straight-through estimator).
at::Tensor round_tokens(const Node& node, const Inputs& in) {
  const at::Tensor& x = in[0];
  const double n = std::ldexp(1.0, static_cast<int>(node.integer("bits")) - 1) - 1;
  const at::Tensor largest = x.detach().abs().amax(-1, true);
  const at::Tensor used = at::ge(largest, 0x1p-120);
  const at::Tensor inverse = at::where(used, n / largest, at::zeros_like(largest));
  const at::Tensor rounded = at::round(x.detach() * inverse) * (largest / n);
  return x.requires_grad() ? x + (rounded - x).detach() : rounded;
}

const Operators kOperators = {
    {"quantize", quantize},
    {"dequantize", dequantize},
    {"round_tokens", round_tokens},
};

}  // namespace
}  // namespace bitsmith::reference
