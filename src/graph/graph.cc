#include "graph/graph.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace bitsmith {
namespace {

template <class T>
const T& attribute(const Node& node, std::string_view name) {
  const auto it = node.attributes.find(name);
  if (it == node.attributes.end() || !std::holds_alternative<T>(it->second)) {
    fail(ErrorCode::kCorrupt,
         "graph: node '{}' ({}) lacks the attribute '{}' or has it in a wrong type", node.name,
         node.op, name);
  }
  return std::get<T>(it->second);
}

// Checks what every node must hold, whatever its operator.
void check_node(const Node& node, const Shape& shape) {
  constexpr int64_t kMaxElements = int64_t{1} << 48;
  Shape known;  // a symbol may be 1
  for (const int64_t extent : shape) known.push_back(extent < 0 ? 1 : extent);
  const std::optional<int64_t> count = element_count(known);
  if (!count || *count == 0 || *count > kMaxElements) {
    fail(ErrorCode::kCorrupt, "graph: node '{}' ({}) makes {}, which is empty or too large",
         node.name, node.op, to_string(shape));
  }
  const auto finite = [](double x) { return std::isfinite(x); };
  for (const auto& [name, attribute] : node.attributes) {
    const double* number = std::get_if<double>(&attribute);
    const auto* numbers = std::get_if<std::vector<double>>(&attribute);
    if ((number != nullptr && !finite(*number)) ||
        (numbers != nullptr && !std::ranges::all_of(*numbers, finite))) {
      fail(ErrorCode::kCorrupt, "graph: the attribute '{}' of node '{}' ({}) is not finite", name,
           node.name, node.op);
    }
  }
}

// A parameter that methods compress: two extents or more.
bool is_matrix(const Value& value) {
  return value.kind == ValueKind::kParameter && value.shape.size() >= 2;
}

// The longest prefix of whole dotted words that both names have.
std::string common_prefix(const std::string& a, const std::string& b) {
  size_t end = 0;
  for (size_t i = 0;; ++i) {
    const bool a_stops = i == a.size() || a[i] == '.';
    const bool b_stops = i == b.size() || b[i] == '.';
    if (a_stops && b_stops) end = i;
    if (i == a.size() || i == b.size() || a[i] != b[i]) break;
  }
  return a.substr(0, end);
}

}  // namespace

int64_t Node::integer(std::string_view key) const { return attribute<int64_t>(*this, key); }
double Node::number(std::string_view key) const { return attribute<double>(*this, key); }
const std::string& Node::text(std::string_view key) const {
  return attribute<std::string>(*this, key);
}
const std::vector<double>& Node::numbers(std::string_view key) const {
  return attribute<std::vector<double>>(*this, key);
}
const std::vector<int64_t>& Node::integers(std::string_view key) const {
  // JSON does not tell what an empty list would hold.
  static const std::vector<int64_t> kNone;
  const auto it = attributes.find(key);
  const auto* numbers =
      it == attributes.end() ? nullptr : std::get_if<std::vector<double>>(&it->second);
  if (numbers != nullptr && numbers->empty()) return kNone;
  return attribute<std::vector<int64_t>>(*this, key);
}

ValueId Graph::find(std::string_view name) const {
  const auto it = std::ranges::find(values, name, &Value::name);
  return it == values.end() ? kNoValue : static_cast<ValueId>(it - values.begin());
}

ValueId Graph::add_input(std::string name, Shape shape) {
  values.push_back({std::move(name), ValueKind::kInput, std::move(shape), ""});
  inputs.push_back(static_cast<ValueId>(values.size() - 1));
  return inputs.back();
}

ValueId Graph::add_parameter(std::string name, Shape shape, std::string role) {
  values.push_back({std::move(name), ValueKind::kParameter, std::move(shape), std::move(role)});
  return static_cast<ValueId>(values.size() - 1);
}

ValueId Graph::add_node(std::string_view op, std::string name, std::vector<ValueId> node_inputs,
                        Attributes attributes) {
  const Operator& meaning = Registry<Operator>::instance().get(op);
  Node node{std::string(op), std::move(name), std::move(node_inputs), {}, std::move(attributes)};
  Shape shape = meaning.infer(*this, node);
  check_node(node, shape);
  values.push_back({node.name, ValueKind::kActivation, std::move(shape), ""});
  const ValueId output = static_cast<ValueId>(values.size() - 1);
  node.outputs.push_back(output);
  nodes.push_back(std::move(node));
  return output;
}

std::vector<ValueId> Graph::parameters() const {
  std::vector<ValueId> result;
  std::vector<bool> seen(values.size(), false);
  for (const Node& node : nodes) {
    for (const ValueId id : node.inputs) {
      if (id == kNoValue || value(id).kind != ValueKind::kParameter) continue;
      if (seen[static_cast<size_t>(id)]) continue;
      seen[static_cast<size_t>(id)] = true;
      result.push_back(id);
    }
  }
  return result;
}

bool is_language_model(const Graph& graph) {
  return std::ranges::any_of(graph.inputs, [&](ValueId id) {
    return std::ranges::count(graph.value(id).shape, kTime) > 0;
  });
}

std::vector<Block> find_blocks(const Graph& graph) {
  const size_t n = graph.nodes.size();
  if (graph.inputs.empty() || graph.outputs.empty() || n == 0) {
    fail(ErrorCode::kUnsupported,
         "graph: blocks are found in a graph that has inputs, outputs and nodes, this one has {}, "
         "{} and {}",
         graph.inputs.size(), graph.outputs.size(), n);
  }
  // An activation is live between nodes i and i + 1 if it is made at or before i and used after.
  std::vector<size_t> last_use(graph.values.size(), 0);
  for (size_t i = 0; i < n; ++i) {
    for (const ValueId id : graph.nodes[i].inputs) {
      if (id != kNoValue) last_use[static_cast<size_t>(id)] = i;
    }
  }
  for (const ValueId id : graph.outputs) last_use[static_cast<size_t>(id)] = n;

  std::vector<Block> blocks;
  std::vector<ValueId> live = graph.inputs;
  Block block{0, 0, graph.inputs[0], kNoValue, ""};
  bool has_matrix = false;
  for (size_t i = 0; i < n; ++i) {
    const Node& node = graph.nodes[i];
    block.name = i == block.begin ? node.name : common_prefix(block.name, node.name);
    for (const ValueId id : node.inputs) {
      has_matrix = has_matrix || (id != kNoValue && is_matrix(graph.value(id)));
    }
    std::erase_if(live, [&](ValueId id) { return last_use[static_cast<size_t>(id)] <= i; });
    for (const ValueId id : node.outputs) {
      if (last_use[static_cast<size_t>(id)] > i) live.push_back(id);
    }
    const bool last = i + 1 == n;
    if (!last && (live.size() != 1 || !has_matrix)) continue;
    block.end = i + 1;
    block.output = live.back();            // of several outputs at the end: the one made last
    if (!has_matrix && !blocks.empty()) {  // a tail without matrices belongs to the block before it
      blocks.back().end = block.end;
      blocks.back().output = block.output;
    } else {
      blocks.push_back(block);
    }
    block = {i + 1, i + 1, block.output, kNoValue, ""};
    has_matrix = false;
  }
  BITSMITH_ASSERT(!blocks.empty() && blocks.back().end == n);
  return blocks;
}

void remove_dead_nodes(Graph& graph) {
  std::vector<bool> used(graph.values.size(), false);
  for (const ValueId id : graph.outputs) used[static_cast<size_t>(id)] = true;
  const auto is_used = [&](const Node& node) {
    return std::ranges::any_of(node.outputs,
                               [&](ValueId id) { return used[static_cast<size_t>(id)]; });
  };
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    if (!is_used(graph.nodes[i])) continue;
    for (const ValueId id : graph.nodes[i].inputs) {
      if (id != kNoValue) used[static_cast<size_t>(id)] = true;
    }
  }
  std::erase_if(graph.nodes, [&](const Node& node) { return !is_used(node); });
}

}  // namespace bitsmith
