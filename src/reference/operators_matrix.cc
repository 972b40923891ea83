// Operators of graph/operators_matrix.h in torch.
#include "reference/operators.h"

namespace bitsmith::reference {
namespace {

at::Tensor linear(const Node&, const Inputs& in) {
  return in[2].defined() ? at::linear(in[0], in[1], in[2]) : at::linear(in[0], in[1]);
}

at::Tensor matmul(const Node&, const Inputs& in) { return at::matmul(in[0], in[1]); }

const Operators kOperators = {
    {"linear", linear},
    {"matmul", matmul},
};

}  // namespace
}  // namespace bitsmith::reference
