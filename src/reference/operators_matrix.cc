// Operators of graph/operators_matrix.h in torch.
#include <cmath>

#include "reference/operators.h"

namespace bitsmith::reference {
namespace {

at::Tensor linear(const Node&, const Inputs& in) {
  return in[2].defined() ? at::linear(in[0], in[1], in[2]) : at::linear(in[0], in[1]);
}

at::Tensor matmul(const Node&, const Inputs& in) { return at::matmul(in[0], in[1]); }

// [..., 2^k] times Sylvester's Hadamard matrix, orthonormal.
at::Tensor walsh_hadamard(at::Tensor x) {
  const int64_t size = x.size(-1);
  for (int64_t stride = 1; stride < size; stride *= 2) {
    const at::Tensor pairs = x.unflatten(-1, {size / (2 * stride), 2, stride});
    const at::Tensor a = pairs.select(-2, 0);
    const at::Tensor b = pairs.select(-2, 1);
    x = at::stack({a + b, a - b}, -2).flatten(-3);
  }
  return x / std::sqrt(static_cast<double>(size));
}

// [m, m] of the discrete Hartley transform, orthonormal.
at::Tensor hartley_matrix(int64_t m, const at::Tensor& like) {
  const at::Tensor i = at::arange(m, at::TensorOptions().dtype(at::kLong));
  // i j mod m, so that the angle keeps all its digits
  const at::Tensor angle =
      at::outer(i, i).remainder(m).to(at::kDouble) * (2 * M_PI / static_cast<double>(m));
  return ((angle.cos() + angle.sin()) / std::sqrt(static_cast<double>(m)))
      .to(like.device(), like.scalar_type());
}

at::Tensor hadamard(const Node& node, const Inputs& in) {
  const at::Tensor& signs = in[1];
  const int64_t run = signs.size(0);
  int64_t power = 1;
  while (run % (2 * power) == 0) power *= 2;
  const int64_t odd = run / power;
  const bool inverse = node.integer("inverse") == 1;
  at::Tensor x = in[0].unflatten(-1, {in[0].size(-1) / run, run});
  if (!inverse) x = x * signs;
  x = walsh_hadamard(x.unflatten(-1, {odd, power}));
  if (odd > 1) x = at::matmul(hartley_matrix(odd, x), x);
  x = x.flatten(-2);
  if (inverse) x = x * signs;
  return x.flatten(-2);
}

const Operators kOperators = {
    {"hadamard", hadamard},
    {"linear", linear},
    {"matmul", matmul},
};

}  // namespace
}  // namespace bitsmith::reference
