#include "graph/infer.h"

#include <algorithm>
#include <memory>

namespace bitsmith::infer {

void misfit(const Node& node, const std::string& reason) {
  fail(ErrorCode::kCorrupt, "graph: node '{}' ({}): {}", node.name, node.op, reason);
}

void expect_inputs(const Graph& graph, const Node& node, size_t count, size_t optional) {
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

const Shape& parameter_shape(const Graph& graph, const Node& node, size_t i, size_t rank) {
  const Value& value = graph.value(node.inputs[i]);
  if (value.kind != ValueKind::kParameter || value.shape.size() != rank) {
    misfit(node, fmt::format("input {} ('{}') must be a parameter of {} extents, it is {}", i,
                             value.name, rank, to_string(value.shape)));
  }
  return value.shape;
}

void expect_vector(const Graph& graph, const Node& node, size_t i, int64_t length) {
  if (node.inputs[i] == kNoValue) return;
  const int64_t got = parameter_shape(graph, node, i, 1)[0];
  if (got != length) misfit(node, fmt::format("input {} must be [{}], it is [{}]", i, length, got));
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

size_t axis_attribute(const Node& node, std::string_view name, size_t rank) {
  const int64_t axis = node.integer(name);
  if (axis < 0 || static_cast<size_t>(axis) >= rank) {
    misfit(node, fmt::format("'{}' is {}, the input has {} extents", name, axis, rank));
  }
  return static_cast<size_t>(axis);
}

const std::vector<int64_t>& integers_attribute(const Node& node, std::string_view name,
                                               size_t count, int64_t lowest, int64_t highest) {
  const std::vector<int64_t>& list = node.integers(name);
  if (list.size() != count) {
    misfit(node, fmt::format("'{}' must have {} entries, not {}", name, count, list.size()));
  }
  for (const int64_t entry : list) {
    if (entry < lowest || entry > highest) {
      misfit(node, fmt::format("'{}' holds {}, outside [{}, {}]", name, entry, lowest, highest));
    }
  }
  return list;
}

Shape broadcast(const Node& node, const Shape& a, const Shape& b) {
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape result = longer;
  const size_t offset = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i) {
    int64_t& extent = result[offset + i];
    if (extent == shorter[i] || shorter[i] == 1) continue;
    if (extent != 1) {
      misfit(node, fmt::format("{} and {} do not broadcast", to_string(a), to_string(b)));
    }
    extent = shorter[i];
  }
  return result;
}

Shape same_shape(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 1);
  return input_shape(graph, node, 0);
}

Shape broadcast_inputs(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2);
  return broadcast(node, input_shape(graph, node, 0), input_shape(graph, node, 1));
}

void register_operator(const char* id, const char* summary, bool positionwise, Function function) {
  auto op = std::make_unique<Operator>();
  op->part = {id, summary, "", {}};
  op->positionwise = positionwise;
  op->infer = function;
  Registry<Operator>::instance().add(std::move(op));
}

}  // namespace bitsmith::infer
