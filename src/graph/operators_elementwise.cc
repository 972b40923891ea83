#include "graph/operators_elementwise.h"

#include <cmath>

#include "graph/infer.h"

namespace bitsmith {
namespace {

using namespace infer;

// One input and attributes that are all finite numbers.
template <const char* const... kNames>
Shape infer_unary_with(const Graph& graph, const Node& node) {
  const auto check = [&](const char* name) {
    if (!std::isfinite(node.number(name))) misfit(node, fmt::format("'{}' is not finite", name));
  };
  (check(kNames), ...);
  return same_shape(graph, node);
}

constexpr char kLow[] = "low";
constexpr char kHigh[] = "high";
constexpr char kSlope[] = "slope";
constexpr char kOffset[] = "offset";
constexpr char kAlpha[] = "alpha";
constexpr char kFactor[] = "factor";
constexpr char kCap[] = "cap";

Shape infer_clip(const Graph& graph, const Node& node) {
  if (!(node.number(kLow) <= node.number(kHigh))) misfit(node, "'low' must not be above 'high'");
  return infer_unary_with<kLow, kHigh>(graph, node);
}

Shape infer_soft_cap(const Graph& graph, const Node& node) {
  if (!(node.number(kCap) > 0)) misfit(node, "'cap' must be above 0");
  return infer_unary_with<kCap>(graph, node);
}

Shape infer_select(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 3);
  const Shape values = broadcast(node, input_shape(graph, node, 1), input_shape(graph, node, 2));
  return broadcast(node, input_shape(graph, node, 0), values);
}

struct OperatorTable {
  OperatorTable() {
    const auto binary = [](const char* id, const char* summary) {
      register_operator(id, summary, true, broadcast_inputs);
    };
    binary("add", "sum of two tensors");
    binary("subtract", "difference of two tensors");
    binary("multiply", "product of two tensors, element by element");
    binary("divide", "quotient of two tensors, element by element");
    binary("power", "one tensor to the power of another, element by element");
    binary("minimum", "smaller of two elements");
    binary("maximum", "larger of two elements");
    binary("equal", "1 where two tensors are equal, else 0");
    binary("less", "1 where the first of two elements is smaller, else 0");
    register_operator("select", "elements of one tensor or another, by a condition", true,
                      infer_select);

    const auto unary = [](const char* id, const char* summary) {
      register_operator(id, summary, true, same_shape);
    };
    unary("relu", "max(x, 0)");
    unary("sigmoid", "1 / (1 + exp(-x))");
    unary("silu", "x * sigmoid(x)");
    unary("hard_swish", "x * clip(x / 6 + 1/2, 0, 1)");
    unary("tanh", "hyperbolic tangent");
    unary("gelu", "x times the normal distribution function");
    unary("gelu_tanh", "gelu, approximated by tanh");
    unary("softplus", "log(1 + exp(x))");
    unary("abs", "absolute value");
    unary("exp", "exponential function");
    unary("log", "natural logarithm");
    unary("sqrt", "square root");
    unary("erf", "error function");
    unary("sin", "sine");
    unary("cos", "cosine");
    unary("floor", "rounds down");
    unary("ceil", "rounds up");
    unary("truncate", "rounds towards 0");
    unary("round", "rounds to nearest, ties to even");

    register_operator("scale", "factor * x", true, infer_unary_with<kFactor>);
    register_operator("soft_cap", "cap * tanh(x / cap)", true, infer_soft_cap);
    register_operator("clip", "clamps to a range", true, infer_clip);
    register_operator("leaky_relu", "x, or a fraction of it below 0", true,
                      infer_unary_with<kSlope>);
    register_operator("elu", "x, or alpha * (exp(x) - 1) below 0", true, infer_unary_with<kAlpha>);
    register_operator("hard_sigmoid", "clip(slope * x + offset, 0, 1)", true,
                      infer_unary_with<kSlope, kOffset>);
  }
};
const OperatorTable table;

}  // namespace

namespace ops {

ValueId add(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("add", std::move(name), {a, b});
}

ValueId subtract(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("subtract", std::move(name), {a, b});
}

ValueId multiply(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("multiply", std::move(name), {a, b});
}

ValueId divide(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("divide", std::move(name), {a, b});
}

ValueId power(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("power", std::move(name), {a, b});
}

ValueId minimum(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("minimum", std::move(name), {a, b});
}

ValueId maximum(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("maximum", std::move(name), {a, b});
}

ValueId equal(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("equal", std::move(name), {a, b});
}

ValueId less(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("less", std::move(name), {a, b});
}

ValueId select(Graph& graph, std::string name, ValueId condition, ValueId a, ValueId b) {
  return graph.add_node("select", std::move(name), {condition, a, b});
}

ValueId unary(Graph& graph, std::string_view op, std::string name, ValueId x) {
  return graph.add_node(op, std::move(name), {x});
}

ValueId silu(Graph& graph, std::string name, ValueId x) {
  return unary(graph, "silu", std::move(name), x);
}

ValueId relu(Graph& graph, std::string name, ValueId x) {
  return unary(graph, "relu", std::move(name), x);
}

ValueId scale(Graph& graph, std::string name, ValueId x, double factor) {
  return graph.add_node("scale", std::move(name), {x}, {{"factor", factor}});
}

ValueId soft_cap(Graph& graph, std::string name, ValueId x, double cap) {
  return graph.add_node("soft_cap", std::move(name), {x}, {{"cap", cap}});
}

ValueId clip(Graph& graph, std::string name, ValueId x, double low, double high) {
  return graph.add_node("clip", std::move(name), {x}, {{"low", low}, {"high", high}});
}

ValueId leaky_relu(Graph& graph, std::string name, ValueId x, double slope) {
  return graph.add_node("leaky_relu", std::move(name), {x}, {{"slope", slope}});
}

ValueId elu(Graph& graph, std::string name, ValueId x, double alpha) {
  return graph.add_node("elu", std::move(name), {x}, {{"alpha", alpha}});
}

ValueId hard_sigmoid(Graph& graph, std::string name, ValueId x, double slope, double offset) {
  return graph.add_node("hard_sigmoid", std::move(name), {x},
                        {{"slope", slope}, {"offset", offset}});
}

}  // namespace ops
}  // namespace bitsmith
