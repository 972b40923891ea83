#include "graph/operators.h"

namespace bitsmith {
namespace {

[[noreturn]] void misfit(const Node& node, const std::string& reason) {
  fail(ErrorCode::kCorrupt, "graph: node '{}' ({}): {}", node.name, node.op, reason);
}

// Checks the number of inputs; the last `optional` of them may be kNoValue.
void expect_inputs(const Graph& graph, const Node& node, size_t count, size_t optional = 0) {
  if (node.inputs.size() != count) {
    misfit(node, fmt::format("it takes {} inputs, not {}", count, node.inputs.size()));
  }
  for (size_t i = 0; i < count; ++i) {
    const ValueId id = node.inputs[i];
    if (id == kNoValue && i + optional >= count) continue;
    if (id < 0 || static_cast<size_t>(id) >= graph.values.size()) {
      misfit(node, fmt::format("input {} is missing", i));
    }
  }
}

const Shape& input_shape(const Graph& graph, const Node& node, size_t i) {
  return graph.value(node.inputs[i]).shape;
}

// Parameters stand where parameters are expected: an executor may then prepare them once.
const Shape& parameter_shape(const Graph& graph, const Node& node, size_t i, size_t rank) {
  const Value& value = graph.value(node.inputs[i]);
  if (value.kind != ValueKind::kParameter || value.shape.size() != rank) {
    misfit(node, fmt::format("input {} ('{}') must be a parameter of {} extents, it is {}", i,
                             value.name, rank, to_string(value.shape)));
  }
  return value.shape;
}

int64_t last_extent(const Graph& graph, const Node& node, size_t i) {
  const Shape& shape = input_shape(graph, node, i);
  if (shape.empty() || shape.back() <= 0) {
    misfit(node, fmt::format("input {} has the shape {}", i, to_string(shape)));
  }
  return shape.back();
}

void expect_equal(const Node& node, const char* what, int64_t expected, int64_t got) {
  if (expected != got) misfit(node, fmt::format("{} must be {}, it is {}", what, expected, got));
}

Shape infer_embedding(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2);
  Shape shape = input_shape(graph, node, 0);
  shape.push_back(parameter_shape(graph, node, 1, 2)[1]);
  return shape;
}

Shape infer_linear(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 3, 1);
  const Shape& weight = parameter_shape(graph, node, 1, 2);
  expect_equal(node, "the input's last extent", weight[1], last_extent(graph, node, 0));
  if (node.inputs[2] != kNoValue) {
    expect_equal(node, "the bias's length", weight[0], parameter_shape(graph, node, 2, 1)[0]);
  }
  Shape shape = input_shape(graph, node, 0);
  shape.back() = weight[0];
  return shape;
}

Shape infer_rms_norm(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2);
  const int64_t run = parameter_shape(graph, node, 1, 1)[0];
  const int64_t channels = last_extent(graph, node, 0);
  if (run <= 0 || channels % run != 0) {
    misfit(node, fmt::format("{} channels are no multiple of the weight's {}", channels, run));
  }
  if (!(node.number("epsilon") >= 0)) misfit(node, "epsilon must not be negative");
  return input_shape(graph, node, 0);
}

Shape infer_rope(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 1);
  const int64_t head = 2 * static_cast<int64_t>(node.numbers("frequencies").size());
  const int64_t channels = last_extent(graph, node, 0);
  if (head == 0 || channels % head != 0) {
    misfit(node,
           fmt::format("{} channels are no multiple of {} (two per frequency)", channels, head));
  }
  node.number("magnitude");
  return input_shape(graph, node, 0);
}

Shape infer_attention(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 3);
  const int64_t heads = node.integer("heads");
  const int64_t kv_heads = node.integer("kv_heads");
  const int64_t head_dim = node.integer("head_dim");
  constexpr int64_t kMax = 1 << 20;
  if (heads <= 0 || kv_heads <= 0 || head_dim <= 0 || heads > kMax || head_dim > kMax ||
      heads % kv_heads != 0) {
    misfit(node, fmt::format("{} heads, {} kv heads of {} channels do not fit", heads, kv_heads,
                             head_dim));
  }
  if (node.integer("window") < 0) misfit(node, "the window must not be negative");
  node.number("scale");
  expect_equal(node, "q's last extent", heads * head_dim, last_extent(graph, node, 0));
  expect_equal(node, "k's last extent", kv_heads * head_dim, last_extent(graph, node, 1));
  expect_equal(node, "v's last extent", kv_heads * head_dim, last_extent(graph, node, 2));
  return input_shape(graph, node, 0);
}

Shape infer_unary(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 1);
  return input_shape(graph, node, 0);
}

Shape infer_binary(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2);
  const Shape& a = input_shape(graph, node, 0);
  const Shape& b = input_shape(graph, node, 1);
  if (a != b) misfit(node, fmt::format("{} and {} differ", to_string(a), to_string(b)));
  return a;
}

struct OperatorTable {
  OperatorTable() {
    const auto add = [](const char* id, const char* summary, bool positionwise,
                        Shape (*infer)(const Graph&, const Node&)) {
      auto op = std::make_unique<Operator>();
      op->part = {id, summary, "", {}};
      op->positionwise = positionwise;
      op->infer = infer;
      Registry<Operator>::instance().add(std::move(op));
    };
    add("embedding", "rows of a table by token id", true, infer_embedding);
    add("linear", "matrix product with a weight, and a bias", true, infer_linear);
    add("rms_norm", "root-mean-square normalisation", true, infer_rms_norm);
    add("rope", "rotary position embedding, rotate-half order", true, infer_rope);
    add("attention", "causal softmax attention with grouped kv heads", false, infer_attention);
    add("silu", "x * sigmoid(x)", true, infer_unary);
    add("add", "sum of two tensors", true, infer_binary);
    add("multiply", "product of two tensors, element by element", true, infer_binary);
  }
};
const OperatorTable table;

}  // namespace

namespace ops {

ValueId embedding(Graph& graph, std::string name, ValueId ids, ValueId weights) {
  return graph.add_node("embedding", std::move(name), {ids, weights});
}

ValueId linear(Graph& graph, std::string name, ValueId x, ValueId weight, ValueId bias) {
  return graph.add_node("linear", std::move(name), {x, weight, bias});
}

ValueId rms_norm(Graph& graph, std::string name, ValueId x, ValueId weight, double epsilon) {
  return graph.add_node("rms_norm", std::move(name), {x, weight}, {{"epsilon", epsilon}});
}

ValueId rope(Graph& graph, std::string name, ValueId x, std::vector<double> frequencies,
             double magnitude) {
  return graph.add_node("rope", std::move(name), {x},
                        {{"frequencies", std::move(frequencies)}, {"magnitude", magnitude}});
}

ValueId attention(Graph& graph, std::string name, ValueId q, ValueId k, ValueId v,
                  const AttentionOptions& options) {
  return graph.add_node("attention", std::move(name), {q, k, v},
                        {{"heads", options.heads},
                         {"kv_heads", options.kv_heads},
                         {"head_dim", options.head_dim},
                         {"scale", options.scale},
                         {"window", options.window}});
}

ValueId silu(Graph& graph, std::string name, ValueId x) {
  return graph.add_node("silu", std::move(name), {x});
}

ValueId add(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("add", std::move(name), {a, b});
}

ValueId multiply(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("multiply", std::move(name), {a, b});
}

}  // namespace ops
}  // namespace bitsmith
