// Operators of graph/operators_normalization.h in torch.
#include "reference/operators.h"

namespace bitsmith::reference {
namespace {

at::Tensor rms_norm(const Node& node, const Inputs& in) {
  const int64_t run = in[1].size(0);
  const at::Tensor x = in[0].unflatten(-1, {in[0].size(-1) / run, run});
  const at::Tensor scale = at::rsqrt(x.square().mean(-1, true) + node.number("epsilon"));
  return (x * scale * in[1]).flatten(-2);
}

at::Tensor layer_norm(const Node& node, const Inputs& in) {
  return at::layer_norm(in[0], {in[0].size(-1)}, in[1], in[2], node.number("epsilon"));
}

at::Tensor batch_norm(const Node& node, const Inputs& in) {
  std::vector<int64_t> along(static_cast<size_t>(in[0].dim()), 1);
  along[1] = -1;
  const at::Tensor scale = in[1] * at::rsqrt(in[4] + node.number("epsilon"));
  return (in[0] - in[3].view(along)) * scale.view(along) + in[2].view(along);
}

at::Tensor softmax(const Node& node, const Inputs& in) {
  return at::softmax(in[0], node.integer("axis"));
}

at::Tensor reduce_mean(const Node& node, const Inputs& in) {
  return in[0].mean(node.integers("axes"), node.integer("keep") != 0);
}
at::Tensor reduce_sum(const Node& node, const Inputs& in) {
  return in[0].sum(node.integers("axes"), node.integer("keep") != 0);
}
at::Tensor reduce_max(const Node& node, const Inputs& in) {
  return in[0].amax(node.integers("axes"), node.integer("keep") != 0);
}

const Operators kOperators = {
    {"rms_norm", rms_norm},     {"layer_norm", layer_norm},   {"batch_norm", batch_norm},
    {"softmax", softmax},       {"reduce_mean", reduce_mean}, {"reduce_sum", reduce_sum},
    {"reduce_max", reduce_max},
};

}  // namespace
}  // namespace bitsmith::reference
