#include "transforms/network.h"

#include <algorithm>

#include "core/error.h"

namespace bitsmith {

void apply_changes(const std::vector<ParameterChange>& changes, std::vector<float>& weights,
                   ThreadPool& pool) {
  for (const auto& [edit, before, after] : changes) {
    BITSMITH_ASSERT(static_cast<int64_t>(weights.size()) == before.rows * before.cols);
    edit(weights, before, pool);
    if (before == after) continue;
    BITSMITH_ASSERT(after.rows <= before.rows && after.cols <= before.cols);
    for (int64_t r = 1; r < after.rows && after.cols < before.cols; ++r) {
      const float* row = weights.data() + r * before.cols;
      std::copy_n(row, after.cols, weights.data() + r * after.cols);
    }
    weights.resize(static_cast<size_t>(after.rows * after.cols));
  }
}

void Network::edit(ValueId parameter, ParameterEdit edit, const Shape& kept) {
  Value& value = graph.values.at(static_cast<size_t>(parameter));
  const MatrixShape before = matrix_shape(value.shape);
  if (!kept.empty()) value.shape = kept;
  edits_[value.name].push_back({std::move(edit), before, matrix_shape(value.shape)});
}

void Network::set(ValueId parameter, std::vector<float> values) {
  Value& value = graph.values.at(static_cast<size_t>(parameter));
  if (value.shape.size() == 1) value.shape[0] = static_cast<int64_t>(values.size());
  BITSMITH_ASSERT(element_count(value.shape) == static_cast<int64_t>(values.size()));
  edits_.erase(value.name);
  given_[value.name] = std::move(values);
}

ValueId Network::add_computed(const std::string& name, const Shape& shape,
                              std::vector<float> values, const std::string& role) {
  BITSMITH_ASSERT(element_count(shape) == static_cast<int64_t>(values.size()));
  std::string free = name;
  for (int i = 2; graph.find(free) != kNoValue; ++i) free = fmt::format("{}.{}", name, i);
  const ValueId id = graph.add_parameter(free, shape, role);
  given_[free] = std::move(values);
  computed_.insert(free);
  return id;
}

std::vector<float> Network::values(ValueId parameter, ThreadPool& pool) const {
  const Value& value = graph.value(parameter);
  const auto given = given_.find(value.name);
  std::vector<float> result =
      given != given_.end() ? given->second : model_.parameter(value.name).decode_all();
  if (const auto it = edits_.find(value.name); it != edits_.end()) {
    apply_changes(it->second, result, pool);
  }
  return result;
}

ValueId Network::vector_parameter(const std::string& name, const std::vector<float>& values,
                                  const std::string& role) {
  std::string free = name;
  for (int i = 2; graph.find(free) != kNoValue; ++i) {
    const auto it = given_.find(free);
    if (it != given_.end() && it->second == values && !edits_.contains(free))
      return graph.find(free);
    free = fmt::format("{}.{}", name, i);
  }
  const ValueId id = graph.add_parameter(free, {static_cast<int64_t>(values.size())}, role);
  given_[free] = values;
  return id;
}

std::vector<size_t> Network::producers() const {
  std::vector<size_t> result(graph.values.size(), graph.nodes.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const ValueId id : graph.nodes[n].outputs) result[static_cast<size_t>(id)] = n;
  }
  return result;
}

std::vector<std::vector<Use>> Network::uses() const {
  std::vector<std::vector<Use>> result(graph.values.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const std::vector<ValueId>& inputs = graph.nodes[n].inputs;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i] != kNoValue) result[static_cast<size_t>(inputs[i])].push_back({n, i});
    }
  }
  return result;
}

bool Network::is_output(ValueId value) const {
  return std::ranges::find(graph.outputs, value) != graph.outputs.end();
}

void Network::place_new_nodes(size_t count) {
  std::vector<Node> fresh(
      std::make_move_iterator(graph.nodes.begin() + static_cast<int64_t>(count)),
      std::make_move_iterator(graph.nodes.end()));
  graph.nodes.resize(count);
  std::vector<Node> placed;
  std::vector<bool> done(fresh.size(), false);
  const std::function<void(Node)> place = [&](Node node) {
    const ValueId output = node.outputs.at(0);
    placed.push_back(std::move(node));
    for (size_t i = 0; i < fresh.size(); ++i) {
      if (done[i] || fresh[i].inputs.at(0) != output) continue;
      done[i] = true;
      place(std::move(fresh[i]));
    }
  };
  for (Node& node : graph.nodes) place(std::move(node));
  BITSMITH_ASSERT(std::ranges::find(done, false) == done.end());
  graph.nodes = std::move(placed);
}

}  // namespace bitsmith
