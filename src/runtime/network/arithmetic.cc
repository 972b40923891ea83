#include "runtime/network/arithmetic.h"

#include <algorithm>

#include "formats/fold_batch_norm.h"
#include "graph/cost.h"
#include "runtime/network/lay_out.h"
#include "runtime/network/lower_to_integers.h"

namespace bitsmith {

NetworkArithmetic count_arithmetic(const IntegerGraph& lowered) {
  const Graph& graph = lowered.graph;
  const size_t count = graph.nodes.size();
  const auto is_coded = [&](ValueId id) {
    return id != kNoValue && lowered.encodings[static_cast<size_t>(id)].has_value();
  };
  // After an integer: on a path from one. Before: on a path to one.
  std::vector<bool> after(graph.values.size(), false);
  std::vector<bool> before(graph.values.size(), false);
  const auto marked = [](const std::vector<bool>& marks, const std::vector<ValueId>& ids) {
    return std::ranges::any_of(
        ids, [&](ValueId id) { return id != kNoValue && marks[static_cast<size_t>(id)]; });
  };
  const auto mark = [](std::vector<bool>& marks, const std::vector<ValueId>& ids) {
    for (const ValueId id : ids) {
      if (id != kNoValue) marks[static_cast<size_t>(id)] = true;
    }
  };
  for (const Node& node : graph.nodes) {
    if (marked(after, node.inputs) || is_coded(node.outputs[0])) mark(after, node.outputs);
  }
  for (size_t i = count; i-- > 0;) {
    const Node& node = graph.nodes[i];
    const bool reads_codes = std::ranges::any_of(node.inputs, is_coded);
    if (marked(before, node.outputs) || reads_codes) mark(before, node.inputs);
  }
  NetworkArithmetic arithmetic;
  for (const Node& node : graph.nodes) {
    Node plain = node;
    if (plain.op.starts_with(kCodePrefix)) plain.op.erase(0, std::string_view(kCodePrefix).size());
    const int64_t products = multiply_adds(graph, plain);
    if (is_coded(node.inputs[0])) {
      arithmetic.integer_multiply_adds += products;
      continue;
    }
    arithmetic.float_multiply_adds += products;
    const bool between = marked(after, node.inputs) && marked(before, node.outputs);
    if (between || products > 0) {
      arithmetic.float_nodes.push_back(fmt::format("{} ({})", node.name, node.op));
    }
  }
  return arithmetic;
}

NetworkArithmetic network_arithmetic(Model model) {
  const auto quantizes = [](const Node& node) { return node.op == "quantize"; };
  if (std::ranges::none_of(model.graph.nodes, quantizes)) {
    return count_arithmetic({model.graph, Encodings(model.graph.values.size())});
  }
  fold_batch_norms(model);
  return count_arithmetic(lower_to_integers(join_activations(model.graph), model.parameters));
}

std::string NetworkArithmetic::text() const {
  if (integer_multiply_adds == 0) return "float32";
  if (integer_only()) return "integers only";
  constexpr size_t kShown = 3;
  std::string nodes;
  for (size_t i = 0; i < std::min(kShown, float_nodes.size()); ++i) {
    nodes += (i == 0 ? "" : ", ") + float_nodes[i];
  }
  if (float_nodes.size() > kShown)
    nodes += fmt::format(" and {} more", float_nodes.size() - kShown);
  const double all =
      static_cast<double>(integer_multiply_adds) + static_cast<double>(float_multiply_adds);
  return fmt::format("{:.1f} % of the multiply-adds in integers; in float32: {}",
                     100 * static_cast<double>(integer_multiply_adds) / all, nodes);
}

nlohmann::json NetworkArithmetic::to_json() const {
  return {{"integer_only", integer_only()},
          {"integer_multiply_adds", integer_multiply_adds},
          {"float_multiply_adds", float_multiply_adds},
          {"float_nodes", float_nodes}};
}

}  // namespace bitsmith
