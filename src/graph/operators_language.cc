#include "graph/operators_language.h"

#include "graph/infer.h"

namespace bitsmith {
namespace {

using namespace infer;

Shape infer_embedding(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2);
  Shape shape = input_shape(graph, node, 0);
  shape.push_back(parameter_shape(graph, node, 1, 2)[1]);
  return shape;
}

// Sequences: [B, T, channels] in all inputs, with the same B and T.
void expect_sequences(const Graph& graph, const Node& node) {
  const Shape& first = input_shape(graph, node, 0);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Shape& shape = input_shape(graph, node, i);
    if (shape.size() != 3 || shape[0] != first[0] || shape[1] != first[1]) {
      misfit(node, fmt::format("input {} has the shape {}, it must be [B, T, channels]", i,
                               to_string(shape)));
    }
  }
}

Shape infer_rope(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 1);
  expect_sequences(graph, node);
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
  expect_sequences(graph, node);
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
  if (node.attributes.contains("soft_cap") && !(node.number("soft_cap") > 0)) {
    misfit(node, "'soft_cap' must be above 0 where it is given");
  }
  expect_equal(node, "q's last extent", heads * head_dim, last_extent(graph, node, 0));
  expect_equal(node, "k's last extent", kv_heads * head_dim, last_extent(graph, node, 1));
  expect_equal(node, "v's last extent", kv_heads * head_dim, last_extent(graph, node, 2));
  return input_shape(graph, node, 0);
}

struct OperatorTable {
  OperatorTable() {
    register_operator("embedding", "rows of a table by token id", true, infer_embedding);
    register_operator("rope", "rotary position embedding, rotate-half order", true, infer_rope);
    register_operator("attention", "causal softmax attention with grouped kv heads", false,
                      infer_attention);
  }
};
const OperatorTable table;

}  // namespace

namespace ops {

ValueId embedding(Graph& graph, std::string name, ValueId ids, ValueId weights) {
  return graph.add_node("embedding", std::move(name), {ids, weights});
}

ValueId rope(Graph& graph, std::string name, ValueId x, std::vector<double> frequencies,
             double magnitude) {
  return graph.add_node("rope", std::move(name), {x},
                        {{"frequencies", std::move(frequencies)}, {"magnitude", magnitude}});
}

ValueId attention(Graph& graph, std::string name, ValueId q, ValueId k, ValueId v,
                  const AttentionOptions& options) {
  Attributes attributes = {{"heads", options.heads},
                           {"kv_heads", options.kv_heads},
                           {"head_dim", options.head_dim},
                           {"scale", options.scale},
                           {"window", options.window}};
  if (options.soft_cap != 0) attributes.emplace("soft_cap", options.soft_cap);
  return graph.add_node("attention", std::move(name), {q, k, v}, std::move(attributes));
}

AttentionOptions attention_options(const Node& node) {
  return {.heads = node.integer("heads"),
          .kv_heads = node.integer("kv_heads"),
          .head_dim = node.integer("head_dim"),
          .scale = node.number("scale"),
          .window = node.integer("window"),
          .soft_cap = node.attributes.contains("soft_cap") ? node.number("soft_cap") : 0};
}

}  // namespace ops
}  // namespace bitsmith
