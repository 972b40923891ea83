// ONNX's element-by-element operators.
#include <cmath>
#include <limits>

#include "formats/onnx_lowering.h"

namespace bitsmith::onnx {
namespace {

// The second operand of a binary operator. Before opset 7 it was aligned at `axis` if `broadcast`
// was 1.
ValueId second_operand(Lowering& node) {
  const ValueId b = node.value(1);
  if (node.opset() >= 7 || node.integer("broadcast", 0) == 0 || node.attribute("axis") == nullptr) {
    return b;
  }
  const size_t rank = node.shape(0).size();
  const size_t begin = node.axis(node.integer("axis", 0), rank);
  Shape shape = node.shape_of(b);
  if (begin + shape.size() > rank) node.corrupt("the operands do not fit");
  shape.resize(rank - begin, 1);
  return ops::reshape(node.graph(), node.name("aligned"), b, shape);
}

template <ValueId (*kMake)(Graph&, std::string, ValueId, ValueId)>
void lower_binary(Lowering& node) {
  const ValueId a = node.value(0);
  const ValueId b = second_operand(node);
  node.set(kMake(node.graph(), node.name(), a, b));
}

// Integers divide towards 0.
void lower_div(Lowering& node) {
  if (!is_integer(node.type(0))) return lower_binary<ops::divide>(node);
  const ValueId a = node.value(0);
  const ValueId quotient =
      ops::divide(node.graph(), node.name("quotient"), a, second_operand(node));
  node.set(ops::unary(node.graph(), "truncate", node.name(), quotient));
}

void lower_pow(Lowering& node) {
  const ValueId a = node.value(0);
  const ValueId b = second_operand(node);
  if (!is_integer(node.type(0)) || is_integer(node.type(1))) {
    node.set(ops::power(node.graph(), node.name(), a, b));
    return;
  }
  const ValueId y = ops::power(node.graph(), node.name("power"), a, b);
  node.set(ops::unary(node.graph(), "truncate", node.name(), y));
}

// 1 - x, for conditions.
ValueId negation(Lowering& node, std::string name, ValueId x) {
  return ops::subtract(node.graph(), std::move(name), node.scalar(1), x);
}

void lower_equal(Lowering& node) {
  node.set(ops::equal(node.graph(), node.name(), node.value(0), node.value(1)), kBool, 0);
}
void lower_less(Lowering& node) {
  node.set(ops::less(node.graph(), node.name(), node.value(0), node.value(1)), kBool, 0);
}
void lower_greater(Lowering& node) {
  node.set(ops::less(node.graph(), node.name(), node.value(1), node.value(0)), kBool, 0);
}
void lower_less_or_equal(Lowering& node) {
  const ValueId greater =
      ops::less(node.graph(), node.name("greater"), node.value(1), node.value(0));
  node.set(negation(node, node.name(), greater), kBool, 0);
}
void lower_greater_or_equal(Lowering& node) {
  const ValueId less = ops::less(node.graph(), node.name("less"), node.value(0), node.value(1));
  node.set(negation(node, node.name(), less), kBool, 0);
}
void lower_not(Lowering& node) { node.set(negation(node, node.name(), node.value(0))); }

void lower_where(Lowering& node) {
  const ValueId condition = node.value(0);
  node.set(ops::select(node.graph(), node.name(), condition, node.value(1), node.value(2)),
           node.type(1), 0);
}

// Operators of any number of inputs, one after the other.
template <ValueId (*kMake)(Graph&, std::string, ValueId, ValueId)>
ValueId combine_all(Lowering& node, bool last) {
  ValueId y = node.value(0);
  for (size_t i = 1; i < node.inputs(); ++i) {
    const bool named = last && i + 1 == node.inputs();
    y = kMake(node.graph(), named ? node.name() : node.name("partial"), y, node.value(i));
  }
  return y;
}
template <ValueId (*kMake)(Graph&, std::string, ValueId, ValueId)>
void lower_variadic(Lowering& node) {
  node.set(combine_all<kMake>(node, true));
}
void lower_mean(Lowering& node) {
  const ValueId sum = combine_all<ops::add>(node, false);
  const ValueId share = node.scalar(1.0 / static_cast<double>(node.inputs()));
  node.set(ops::multiply(node.graph(), node.name(), sum, share));
}

// Operators that the graph has under another name.
void lower_unary(Lowering& node) {
  static const std::map<std::string_view, std::string_view> kOps = {
      {"Relu", "relu"}, {"Sigmoid", "sigmoid"},   {"Tanh", "tanh"},  {"HardSwish", "hard_swish"},
      {"Abs", "abs"},   {"Exp", "exp"},           {"Log", "log"},    {"Sqrt", "sqrt"},
      {"Erf", "erf"},   {"Sin", "sin"},           {"Cos", "cos"},    {"Floor", "floor"},
      {"Ceil", "ceil"}, {"Softplus", "softplus"}, {"Round", "round"}};
  node.set(ops::unary(node.graph(), kOps.at(node.node.op), node.name(), node.value(0)));
}

void lower_gelu(Lowering& node) {
  const bool tanh = node.text("approximate", "none") == "tanh";
  node.set(ops::unary(node.graph(), tanh ? "gelu_tanh" : "gelu", node.name(), node.value(0)));
}

void lower_leaky_relu(Lowering& node) {
  node.set(ops::leaky_relu(node.graph(), node.name(), node.value(0), node.number("alpha", 0.01)));
}
void lower_elu(Lowering& node) {
  node.set(ops::elu(node.graph(), node.name(), node.value(0), node.number("alpha", 1)));
}
void lower_selu(Lowering& node) {
  const ValueId elu = ops::elu(node.graph(), node.name("elu"), node.value(0),
                               node.number("alpha", 1.67326319217681884765625));
  const ValueId gamma = node.scalar(node.number("gamma", 1.05070102214813232421875));
  node.set(ops::multiply(node.graph(), node.name(), elu, gamma));
}
// max(x, 0) + min(0, alpha * (e^(x / alpha) - 1)): for alpha > 0 both cases are those of elu.
void lower_celu(Lowering& node) {
  const double alpha = node.number("alpha", 1);
  if (!(alpha > 0)) node.unsupported("alpha is not positive");
  const ValueId scaled =
      ops::divide(node.graph(), node.name("scaled"), node.value(0), node.scalar(alpha));
  const ValueId elu = ops::elu(node.graph(), node.name("elu"), scaled, 1);
  node.set(ops::multiply(node.graph(), node.name(), elu, node.scalar(alpha)));
}
// max(x, 0) + slope * min(x, 0)
void lower_prelu(Lowering& node) {
  const ValueId x = node.value(0);
  const ValueId zero = node.scalar(0);
  const ValueId positive = ops::relu(node.graph(), node.name("positive"), x);
  const ValueId negative = ops::minimum(node.graph(), node.name("negative"), x, zero);
  const ValueId sloped = ops::multiply(node.graph(), node.name("sloped"), negative, node.value(1));
  node.set(ops::add(node.graph(), node.name(), positive, sloped));
}
void lower_hard_sigmoid(Lowering& node) {
  node.set(ops::hard_sigmoid(node.graph(), node.name(), node.value(0), node.number("alpha", 0.2),
                             node.number("beta", 0.5)));
}
void lower_thresholded_relu(Lowering& node) {
  const ValueId x = node.value(0);
  const ValueId above =
      ops::less(node.graph(), node.name("above"), node.scalar(node.number("alpha", 1)), x);
  node.set(ops::multiply(node.graph(), node.name(), above, x));
}
void lower_softsign(Lowering& node) {
  const ValueId x = node.value(0);
  const ValueId abs = ops::unary(node.graph(), "abs", node.name("abs"), x);
  const ValueId below = ops::add(node.graph(), node.name("below"), abs, node.scalar(1));
  node.set(ops::divide(node.graph(), node.name(), x, below));
}
void lower_mish(Lowering& node) {
  const ValueId x = node.value(0);
  const ValueId soft = ops::unary(node.graph(), "softplus", node.name("softplus"), x);
  const ValueId tanh = ops::unary(node.graph(), "tanh", node.name("tanh"), soft);
  node.set(ops::multiply(node.graph(), node.name(), x, tanh));
}
void lower_sign(Lowering& node) {
  const ValueId x = node.value(0);
  const ValueId zero = node.scalar(0);
  const ValueId positive = ops::less(node.graph(), node.name("positive"), zero, x);
  const ValueId negative = ops::less(node.graph(), node.name("negative"), x, zero);
  node.set(ops::subtract(node.graph(), node.name(), positive, negative));
}
void lower_neg(Lowering& node) {
  node.set(ops::multiply(node.graph(), node.name(), node.value(0), node.scalar(-1)));
}
void lower_reciprocal(Lowering& node) {
  node.set(ops::divide(node.graph(), node.name(), node.scalar(1), node.value(0)));
}

// A bound of Clip: an attribute before opset 11, an input since.
std::optional<double> bound(const Lowering& node, std::string_view name, size_t i) {
  const auto finite = [](double x) {
    return std::abs(x) < static_cast<double>(std::numeric_limits<float>::max());
  };
  std::optional<double> x;
  if (node.opset() < 11 && node.attribute(name) != nullptr) x = node.number(name, 0);
  if (node.has(i)) {
    const Constant& given = node.constant(i);
    if (given.count() != 1) node.corrupt(fmt::format("'{}' is no single number", name));
    x = numbers_of(given)[0];
  }
  return x && finite(*x) ? x : std::nullopt;
}

void lower_clip(Lowering& node) {
  const bool computed =
      (node.has(1) && !node.is_constant(1)) || (node.has(2) && !node.is_constant(2));
  if (computed) {
    ValueId y = node.value(0);
    if (node.has(1)) y = ops::maximum(node.graph(), node.name("low"), y, node.value(1));
    if (node.has(2)) y = ops::minimum(node.graph(), node.name("high"), y, node.value(2));
    return node.set(y);
  }
  const std::optional<double> low = bound(node, "min", 1);
  const std::optional<double> high = bound(node, "max", 2);
  const ValueId x = node.value(0);
  if (low && high && *low <= *high) {
    node.set(ops::clip(node.graph(), node.name(), x, *low, *high));
  } else if (low && high) {  // everything becomes the upper bound
    node.set(ops::clip(node.graph(), node.name(), x, *high, *high));
  } else if (low && *low == 0) {
    node.set(ops::relu(node.graph(), node.name(), x));
  } else if (low) {
    node.set(ops::maximum(node.graph(), node.name(), x, node.scalar(*low)));
  } else if (high) {
    node.set(ops::minimum(node.graph(), node.name(), x, node.scalar(*high)));
  } else {
    node.set(x);
  }
}

// Values are float32 to the graph: a conversion between floating types changes nothing, a float
// becomes an integer by losing its fraction.
void lower_cast(Lowering& node) {
  const auto to =
      node.node.op == "CastLike" ? node.type(1) : static_cast<ElementType>(node.integer("to", 0));
  if (!is_number(to)) node.unsupported("a cast to " + element_type_name(to));
  const ValueId x = node.value(0);
  if (to == kBool && node.type(0) != kBool) {
    const ValueId zero = ops::equal(node.graph(), node.name("zero"), x, node.scalar(0));
    return node.set(negation(node, node.name(), zero), to, 0);
  }
  if (is_integer(to) && !is_integer(node.type(0))) {
    return node.set(ops::unary(node.graph(), "truncate", node.name(), x), to, 0);
  }
  node.set(x, to, 0);
}

const Rules kRules = {
    {"Add", lower_binary<ops::add>},
    {"Sub", lower_binary<ops::subtract>},
    {"Mul", lower_binary<ops::multiply>},
    {"Div", lower_div},
    {"Pow", lower_pow},
    {"And", lower_binary<ops::multiply>},
    {"Or", lower_binary<ops::maximum>},
    {"Equal", lower_equal},
    {"Less", lower_less},
    {"Greater", lower_greater},
    {"LessOrEqual", lower_less_or_equal},
    {"GreaterOrEqual", lower_greater_or_equal},
    {"Not", lower_not},
    {"Where", lower_where},
    {"Sum", lower_variadic<ops::add>},
    {"Min", lower_variadic<ops::minimum>},
    {"Max", lower_variadic<ops::maximum>},
    {"Mean", lower_mean},
    {"Relu", lower_unary},
    {"Sigmoid", lower_unary},
    {"Tanh", lower_unary},
    {"HardSwish", lower_unary},
    {"Abs", lower_unary},
    {"Exp", lower_unary},
    {"Log", lower_unary},
    {"Sqrt", lower_unary},
    {"Erf", lower_unary},
    {"Sin", lower_unary},
    {"Cos", lower_unary},
    {"Floor", lower_unary},
    {"Ceil", lower_unary},
    {"Softplus", lower_unary},
    {"Round", lower_unary},
    {"Gelu", lower_gelu},
    {"LeakyRelu", lower_leaky_relu},
    {"Elu", lower_elu},
    {"Selu", lower_selu},
    {"Celu", lower_celu},
    {"PRelu", lower_prelu},
    {"HardSigmoid", lower_hard_sigmoid},
    {"ThresholdedRelu", lower_thresholded_relu},
    {"Softsign", lower_softsign},
    {"Mish", lower_mish},
    {"Sign", lower_sign},
    {"Neg", lower_neg},
    {"Reciprocal", lower_reciprocal},
    {"Clip", lower_clip},
    {"Cast", lower_cast},
    {"CastLike", lower_cast},
};

}  // namespace
}  // namespace bitsmith::onnx
