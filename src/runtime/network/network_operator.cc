#include "runtime/network/network_operator.h"

#include <algorithm>
#include <limits>

#include "runtime/executor_parts.h"

namespace bitsmith {

Shape strides_of(const Shape& extents, Layout layout) {
  const size_t rank = extents.size();
  Shape strides(rank);
  int64_t stride = 1;
  const auto place = [&](size_t axis) {
    strides[axis] = stride;
    stride *= extents[axis];
  };
  const bool channels_last = layout == Layout::kChannelsLast && rank > 2;
  if (channels_last) place(1);
  for (size_t axis = rank; axis-- > 0;) {
    if (!channels_last || axis != 1) place(axis);
  }
  return strides;
}

bool is_same_in_both_layouts(const Shape& shape) {
  if (shape.size() < 3 || shape[1] == 1) return true;
  return std::all_of(shape.begin() + 2, shape.end(), [](int64_t extent) { return extent == 1; });
}

Shape broadcast_strides(const Shape& extents, const Shape& strides, size_t rank) {
  Shape result(rank, 0);
  const size_t missing = rank - extents.size();
  for (size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] != 1) result[missing + i] = strides[i];
  }
  return result;
}

Shape NetworkFrame::known(const Shape& shape) const {
  Shape result = shape;
  std::ranges::replace(result, kBatch, images);
  return result;
}

NetworkPreparation::NetworkPreparation(const Graph& graph, const std::vector<Layout>& layouts,
                                       const Encodings& encodings,
                                       const std::map<std::string, CodedTensor>& parameters,
                                       Products products)
    : graph_(graph),
      layouts_(layouts),
      encodings_(encodings),
      parameters_(parameters),
      products_(products) {}

Operand NetworkPreparation::operand(ValueId id) {
  const Value& value = graph_.value(id);
  if (value.kind == ValueKind::kParameter && !decoded_.contains(id)) {
    decoded_[id] = parameter(id).decode_all();
  }
  const auto index = static_cast<size_t>(id);
  return {id, value.shape, layouts_.at(index), encodings_.at(index)};
}

const CodedTensor& NetworkPreparation::parameter(ValueId id) const {
  return find_parameter(graph_, parameters_, id);
}

std::vector<float> NetworkPreparation::numbers(ValueId id) const {
  if (id == kNoValue) return {};
  return parameter(id).decode_all();
}

Limits::Limits(const Node& node) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto number = [&](const char* name, float otherwise) {
    return node.attributes.contains(name) ? static_cast<float>(node.number(name)) : otherwise;
  };
  low = number("low", -kInfinity);
  high = number("high", kInfinity);
}

void refuse_node(const Node& node, const std::string& reason) {
  fail(ErrorCode::kUnsupported, "executor: node '{}' ({}) {}", node.name, node.op, reason);
}

}  // namespace bitsmith
