// Operators of graph/operators_language.h in torch.
#include "graph/operators_language.h"
#include "reference/operators.h"

namespace bitsmith::reference {
namespace {

at::Tensor embedding(const Node&, const Inputs& in) {
  return at::embedding(in[1], in[0].to(at::kLong));
}

at::Tensor rope(const Node& node, const Inputs& in) {
  const at::Tensor& x = in[0];  // [B, T, H*D]
  const std::vector<double>& f = node.numbers("frequencies");
  const int64_t half = static_cast<int64_t>(f.size());
  const at::Tensor frequencies =
      at::tensor(at::ArrayRef<double>(f), at::TensorOptions().dtype(at::kDouble)).to(x.device());
  const at::Tensor positions =
      at::arange(x.size(1), at::TensorOptions().dtype(at::kDouble).device(x.device()));
  const at::Tensor angles = at::outer(positions, frequencies).unsqueeze(1);  // [T, 1, D/2]
  const double magnitude = node.number("magnitude");
  const at::Tensor cos = (angles.cos() * magnitude).to(x.dtype());
  const at::Tensor sin = (angles.sin() * magnitude).to(x.dtype());
  const at::Tensor heads = x.unflatten(-1, {x.size(-1) / (2 * half), 2 * half});
  const at::Tensor a = heads.narrow(-1, 0, half);
  const at::Tensor b = heads.narrow(-1, half, half);
  return at::cat({a * cos - b * sin, b * cos + a * sin}, -1).flatten(-2);
}

at::Tensor attention(const Node& node, const Inputs& in) {
  const auto [heads, kv_heads, head_dim, scale, window, soft_cap] = ops::attention_options(node);
  const int64_t batch = in[0].size(0);
  const int64_t time = in[0].size(1);
  // [B, KV, H/KV, T, D]; keys and values broadcast over the group.
  const at::Tensor q =
      in[0].view({batch, time, kv_heads, heads / kv_heads, head_dim}).permute({0, 2, 3, 1, 4});
  const at::Tensor k = in[1].view({batch, time, kv_heads, 1, head_dim}).permute({0, 2, 3, 1, 4});
  const at::Tensor v = in[2].view({batch, time, kv_heads, 1, head_dim}).permute({0, 2, 3, 1, 4});
  at::Tensor scores = at::matmul(q * scale, k.transpose(-1, -2));
  if (soft_cap > 0) scores = at::tanh(scores / soft_cap) * soft_cap;
  const at::Tensor position = at::arange(time, at::TensorOptions().device(in[0].device()));
  const at::Tensor distance = position.unsqueeze(1) - position.unsqueeze(0);
  at::Tensor hidden = distance.lt(0);
  if (window > 0) hidden = hidden.logical_or(distance.ge(window));
  scores = scores.masked_fill(hidden, -std::numeric_limits<float>::infinity());
  const at::Tensor mixed = at::matmul(at::softmax(scores, -1), v);
  return mixed.permute({0, 3, 1, 2, 4}).reshape({batch, time, heads * head_dim});
}

// Scores, masked, and their softmax; a tanh between them is kept for derivatives.
uint64_t attention_scratch_bytes(const Node& node, uint64_t length) {
  const uint64_t copies = ops::attention_options(node).soft_cap > 0 ? 4 : 3;
  return copies * 4 * static_cast<uint64_t>(node.integer("heads")) * length * length;
}

const Operators kOperators = {
    {"embedding", embedding},
    {"rope", rope},
    {"attention", attention, attention_scratch_bytes},
};

}  // namespace
}  // namespace bitsmith::reference
