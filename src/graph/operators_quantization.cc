#include "graph/operators_quantization.h"

#include "graph/infer.h"

namespace bitsmith {
namespace {

using namespace infer;

constexpr int64_t kLargestCode = int64_t{1} << 24;  // float32 holds all whole numbers up to it

Shape infer_dequantize(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 3, 1);
  const Shape& x = input_shape(graph, node, 0);
  const Value& scale = graph.value(node.inputs[1]);
  if (scale.shape.empty()) {
    parameter_shape(graph, node, 1, 0);
    node.integer("axis");
  } else {
    const size_t axis = axis_attribute(node, "axis", x.size());
    expect_equal(node, "the number of scales", x[axis], parameter_shape(graph, node, 1, 1)[0]);
  }
  if (node.inputs[2] != kNoValue) {
    if (parameter_shape(graph, node, 2, scale.shape.size()) != scale.shape) {
      misfit(node, "scale and zero point differ in shape");
    }
  }
  return x;
}

Shape infer_quantize(const Graph& graph, const Node& node) {
  const int64_t low = node.integer("low");
  const int64_t high = node.integer("high");
  if (low >= high || low < -kLargestCode || high > kLargestCode) {
    misfit(node, fmt::format("[{}, {}] is no range of codes", low, high));
  }
  return infer_dequantize(graph, node);
}

Shape infer_round_tokens(const Graph& graph, const Node& node) {
  const int64_t bits = node.integer("bits");
  if (bits < 2 || bits > 8) misfit(node, fmt::format("rounds to {} bits, not 2 to 8", bits));
  const Shape shape = same_shape(graph, node);
  last_extent(graph, node, 0);
  return shape;
}

struct OperatorTable {
  OperatorTable() {
    register_operator("quantize", "integer codes of numbers", true, infer_quantize);
    register_operator("dequantize", "numbers from integer codes", true, infer_dequantize);
    register_operator("round_tokens", "rows rounded to integers times a scale of each", true,
                      infer_round_tokens);
  }
};
const OperatorTable table;

}  // namespace

namespace ops {

ValueId quantize(Graph& graph, std::string name, ValueId x, ValueId scale, ValueId zero_point,
                 int64_t axis, int64_t low, int64_t high) {
  return graph.add_node("quantize", std::move(name), {x, scale, zero_point},
                        {{"axis", axis}, {"low", low}, {"high", high}});
}

ValueId dequantize(Graph& graph, std::string name, ValueId q, ValueId scale, ValueId zero_point,
                   int64_t axis) {
  return graph.add_node("dequantize", std::move(name), {q, scale, zero_point}, {{"axis", axis}});
}

ValueId round_tokens(Graph& graph, std::string name, ValueId x, int64_t bits) {
  return graph.add_node("round_tokens", std::move(name), {x}, {{"bits", bits}});
}

}  // namespace ops
}  // namespace bitsmith
