// The graph as JSON, as it stands in a checkpoint's metadata; see docs/FORMAT.md.
#include <algorithm>
#include <limits>

#include "graph/graph.h"

namespace bitsmith {
namespace {

using nlohmann::json;

constexpr size_t kMaxValues = 1 << 20;
constexpr size_t kMaxRank = 8;

json attribute_to_json(const Attribute& attribute) {
  return std::visit([](const auto& value) { return json(value); }, attribute);
}

// A whole number that int64_t holds. (JSON's larger ones would wrap around, into symbols.)
bool is_whole(const json& value) {
  return value.is_number_integer() &&
         (!value.is_number_unsigned() ||
          value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
}

Attribute attribute_from_json(const json& value) {
  if (is_whole(value)) return value.get<int64_t>();
  if (value.is_number_float()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) fail(ErrorCode::kCorrupt, "graph: {} is no attribute", value.dump());
  const auto all = [&](auto test) { return std::ranges::all_of(value, test); };
  if (!value.empty() && all(is_whole)) {
    return value.get<std::vector<int64_t>>();
  }
  if (!all([](const json& v) { return is_whole(v) || v.is_number_float(); })) {
    fail(ErrorCode::kCorrupt, "graph: an attribute's list may only hold numbers");
  }
  return value.get<std::vector<double>>();
}

const json& member(const json& object, const char* name) {
  const auto it = object.is_object() ? object.find(name) : object.end();
  if (!object.is_object() || it == object.end()) {
    fail(ErrorCode::kCorrupt, "graph: '{}' is missing", name);
  }
  return *it;
}

std::string text(const json& object, const char* name) {
  const json& value = member(object, name);
  if (!value.is_string()) fail(ErrorCode::kCorrupt, "graph: '{}' must be a string", name);
  return value.get<std::string>();
}

const json& list(const json& object, const char* name) {
  const json& value = member(object, name);
  if (!value.is_array() || value.size() > kMaxValues) {
    fail(ErrorCode::kCorrupt, "graph: '{}' must be a list of at most {} entries", name, kMaxValues);
  }
  return value;
}

Shape shape_from_json(const json& value) {
  Shape shape;
  if (!value.is_array() || value.size() > kMaxRank) {
    fail(ErrorCode::kCorrupt, "graph: a shape must be a list of at most {} extents", kMaxRank);
  }
  for (const json& extent : value) {
    if (!is_whole(extent) || extent.get<int64_t>() < kTime) {
      fail(ErrorCode::kCorrupt, "graph: {} is no extent", extent.dump());
    }
    shape.push_back(extent.get<int64_t>());
  }
  return shape;
}

}  // namespace

json Graph::to_json() const {
  json result;
  result["inputs"] = json::array();
  for (const ValueId id : inputs) {
    result["inputs"].push_back({{"name", value(id).name}, {"shape", value(id).shape}});
  }
  result["parameters"] = json::array();
  for (const ValueId id : parameters()) {
    result["parameters"].push_back(
        {{"name", value(id).name}, {"shape", value(id).shape}, {"role", value(id).role}});
  }
  result["nodes"] = json::array();
  for (const Node& node : nodes) {
    json entry = {{"op", node.op}, {"name", node.name}};
    entry["inputs"] = json::array();
    for (const ValueId id : node.inputs) {
      entry["inputs"].push_back(id == kNoValue ? json(nullptr) : json(value(id).name));
    }
    if (!node.attributes.empty()) {
      for (const auto& [name, attribute] : node.attributes) {
        entry["attributes"][name] = attribute_to_json(attribute);
      }
    }
    result["nodes"].push_back(std::move(entry));
  }
  result["outputs"] = json::array();
  for (const ValueId id : outputs) result["outputs"].push_back(value(id).name);
  return result;
}

Graph Graph::from_json(const json& source) {
  Graph graph;
  std::map<std::string, ValueId, std::less<>> by_name;
  const auto name_new = [&](const std::string& name, ValueId id) {
    if (!by_name.emplace(name, id).second) {
      fail(ErrorCode::kCorrupt, "graph: two values are named '{}'", name);
    }
  };
  const auto lookup = [&](const json& name) {
    if (!name.is_string()) fail(ErrorCode::kCorrupt, "graph: {} is no name", name.dump());
    const auto it = by_name.find(name.get<std::string>());
    if (it == by_name.end()) {
      fail(ErrorCode::kCorrupt, "graph: '{}' is used before it is made", name.get<std::string>());
    }
    return it->second;
  };
  for (const json& entry : list(source, "inputs")) {
    const std::string name = text(entry, "name");
    name_new(name, graph.add_input(name, shape_from_json(member(entry, "shape"))));
  }
  for (const json& entry : list(source, "parameters")) {
    const std::string name = text(entry, "name");
    Shape shape = shape_from_json(member(entry, "shape"));
    if (!element_count(shape)) {
      fail(ErrorCode::kCorrupt, "graph: parameter '{}' has the shape {}", name, to_string(shape));
    }
    name_new(name, graph.add_parameter(name, std::move(shape), text(entry, "role")));
  }
  for (const json& entry : list(source, "nodes")) {
    const std::string op = text(entry, "op");
    const std::string name = text(entry, "name");
    if (Registry<Operator>::instance().find(op) == nullptr) {
      fail(ErrorCode::kUnsupported, "graph: node '{}' is a '{}', which this version does not know",
           name, op);
    }
    std::vector<ValueId> node_inputs;
    for (const json& input : list(entry, "inputs")) {
      node_inputs.push_back(input.is_null() ? kNoValue : lookup(input));
    }
    Attributes attributes;
    if (entry.contains("attributes")) {
      if (!entry["attributes"].is_object()) {
        fail(ErrorCode::kCorrupt, "graph: the attributes of '{}' must be an object", name);
      }
      for (const auto& [key, value] : entry["attributes"].items()) {
        attributes[key] = attribute_from_json(value);
      }
    }
    name_new(name, graph.add_node(op, name, std::move(node_inputs), std::move(attributes)));
  }
  for (const json& name : list(source, "outputs")) {
    graph.outputs.push_back(lookup(name));
    if (graph.value(graph.outputs.back()).kind != ValueKind::kActivation) {
      fail(ErrorCode::kCorrupt, "graph: the output {} is made by no node", name.dump());
    }
  }
  if (graph.inputs.empty() || graph.outputs.empty() || graph.nodes.empty()) {
    fail(ErrorCode::kCorrupt, "graph: it must have an input, an output and a node");
  }
  return graph;
}

}  // namespace bitsmith
