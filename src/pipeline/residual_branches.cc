#include "pipeline/residual_branches.h"

#include <algorithm>

#include "core/error.h"
#include "pipeline/output_format.h"

namespace bitsmith {

Model with_residual_branches(Model model, const Recipe& recipe,
                             std::vector<ResidualBranch>& branches) {
  branches.clear();
  if (recipe.residual.part == nullptr) return model;
  Graph& graph = model.graph;
  std::vector<int> uses(graph.values.size(), 0);
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) ++uses[static_cast<size_t>(id)];
    }
  }
  // From the last, so that the numbers of nodes before it stay.
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    if (node.op != "linear") continue;
    const ValueId weight = node.inputs[1];
    if (graph.value(weight).kind != ValueKind::kParameter) continue;
    if (uses[static_cast<size_t>(weight)] != 1) continue;
    branches.push_back({weight, recipe.residual.part->attach(graph, n, recipe.residual.options)});
  }
  std::ranges::reverse(branches);
  if (branches.empty()) {
    fail(ErrorCode::kUnsupported,
         "recipe '{}' has a [residual], which stands beside linear layers; '{}' has none with a "
         "matrix of its own",
         recipe.id, model.path.string());
  }
  // All read the same zeros.
  const Scheme zeros("f32", nlohmann::json::object());
  size_t most = 0;
  const auto size_of = [&](const ResidualParameter& parameter) {
    return zeros.codec->encoded_bytes(matrix_shape(graph.value(parameter.id).shape), zeros.options);
  };
  for (const ResidualBranch& branch : branches) {
    for (const ResidualParameter& p : branch.parameters) most = std::max(most, size_of(p));
  }
  model.buffers.push_back(std::make_shared<const std::vector<std::byte>>(most));
  const std::span<const std::byte> bytes(*model.buffers.back());
  for (const ResidualBranch& branch : branches) {
    for (const ResidualParameter& p : branch.parameters) {
      const Value& value = graph.value(p.id);
      model.parameters[value.name] = {value.name, value.shape, zeros, bytes.first(size_of(p))};
    }
  }
  settle_buffers(model);
  return model;
}

void join_residual_tasks(const std::vector<ResidualBranch>& branches, const OutputFormat& format,
                         std::vector<MatrixTask>& tasks) {
  for (const ResidualBranch& branch : branches) {
    MatrixTask& layer = *std::ranges::find(tasks, branch.weight, &MatrixTask::id);
    for (const ResidualParameter& parameter : branch.parameters) {
      const auto task = std::ranges::find(tasks, parameter.id, &MatrixTask::id);
      task->of_residual = true;
      task->schemes = {parameter.scheme};
      task->bytes = {format.stored_bytes(task->shape(), parameter.scheme)};
      task->restriction.clear();
      layer.residual.push_back(static_cast<size_t>(task - tasks.begin()));
    }
  }
}

}  // namespace bitsmith
