// Operators of graph/operators_elementwise.h in torch.
#include "reference/operators.h"

namespace bitsmith::reference {
namespace {

at::Tensor add(const Node&, const Inputs& in) { return in[0] + in[1]; }
at::Tensor subtract(const Node&, const Inputs& in) { return in[0] - in[1]; }
at::Tensor multiply(const Node&, const Inputs& in) { return in[0] * in[1]; }
at::Tensor divide(const Node&, const Inputs& in) { return in[0] / in[1]; }
at::Tensor power(const Node&, const Inputs& in) { return at::pow(in[0], in[1]); }
at::Tensor minimum(const Node&, const Inputs& in) { return at::minimum(in[0], in[1]); }
at::Tensor maximum(const Node&, const Inputs& in) { return at::maximum(in[0], in[1]); }
at::Tensor equal(const Node&, const Inputs& in) { return in[0].eq(in[1]).to(at::kFloat); }
at::Tensor less(const Node&, const Inputs& in) { return in[0].lt(in[1]).to(at::kFloat); }
at::Tensor select(const Node&, const Inputs& in) { return at::where(in[0].ne(0), in[1], in[2]); }

at::Tensor relu(const Node&, const Inputs& in) { return at::relu(in[0]); }
at::Tensor sigmoid(const Node&, const Inputs& in) { return at::sigmoid(in[0]); }
at::Tensor silu(const Node&, const Inputs& in) { return at::silu(in[0]); }
at::Tensor hard_swish(const Node&, const Inputs& in) { return at::hardswish(in[0]); }
at::Tensor tanh(const Node&, const Inputs& in) { return at::tanh(in[0]); }
at::Tensor gelu(const Node&, const Inputs& in) { return at::gelu(in[0], "none"); }
at::Tensor gelu_tanh(const Node&, const Inputs& in) { return at::gelu(in[0], "tanh"); }
at::Tensor softplus(const Node&, const Inputs& in) { return at::softplus(in[0]); }
at::Tensor abs(const Node&, const Inputs& in) { return at::abs(in[0]); }
at::Tensor exp(const Node&, const Inputs& in) { return at::exp(in[0]); }
at::Tensor log(const Node&, const Inputs& in) { return at::log(in[0]); }
at::Tensor sqrt(const Node&, const Inputs& in) { return at::sqrt(in[0]); }
at::Tensor erf(const Node&, const Inputs& in) { return at::erf(in[0]); }
at::Tensor sin(const Node&, const Inputs& in) { return at::sin(in[0]); }
at::Tensor cos(const Node&, const Inputs& in) { return at::cos(in[0]); }
at::Tensor floor(const Node&, const Inputs& in) { return at::floor(in[0]); }
at::Tensor ceil(const Node&, const Inputs& in) { return at::ceil(in[0]); }
at::Tensor truncate(const Node&, const Inputs& in) { return at::trunc(in[0]); }
at::Tensor round(const Node&, const Inputs& in) { return at::round(in[0]); }

at::Tensor scale(const Node& node, const Inputs& in) { return in[0] * node.number("factor"); }
at::Tensor soft_cap(const Node& node, const Inputs& in) {
  const double cap = node.number("cap");
  return at::tanh(in[0] / cap) * cap;
}
at::Tensor clip(const Node& node, const Inputs& in) {
  return at::clamp(in[0], node.number("low"), node.number("high"));
}
at::Tensor leaky_relu(const Node& node, const Inputs& in) {
  return at::leaky_relu(in[0], node.number("slope"));
}
at::Tensor elu(const Node& node, const Inputs& in) { return at::elu(in[0], node.number("alpha")); }
at::Tensor hard_sigmoid(const Node& node, const Inputs& in) {
  return at::clamp(in[0] * node.number("slope") + node.number("offset"), 0, 1);
}

const Operators kOperators = {
    {"add", add},
    {"subtract", subtract},
    {"multiply", multiply},
    {"divide", divide},
    {"power", power},
    {"minimum", minimum},
    {"maximum", maximum},
    {"equal", equal},
    {"less", less},
    {"select", select},
    {"relu", relu},
    {"sigmoid", sigmoid},
    {"silu", silu},
    {"hard_swish", hard_swish},
    {"tanh", tanh},
    {"gelu", gelu},
    {"gelu_tanh", gelu_tanh},
    {"softplus", softplus},
    {"abs", abs},
    {"exp", exp},
    {"log", log},
    {"sqrt", sqrt},
    {"erf", erf},
    {"sin", sin},
    {"cos", cos},
    {"floor", floor},
    {"ceil", ceil},
    {"truncate", truncate},
    {"round", round},
    {"scale", scale},
    {"soft_cap", soft_cap},
    {"clip", clip},
    {"leaky_relu", leaky_relu},
    {"elu", elu},
    {"hard_sigmoid", hard_sigmoid},
};

}  // namespace
}  // namespace bitsmith::reference
