#include "pipeline/residual_branches.h"

#include <algorithm>

#include "core/error.h"
#include "pipeline/output_format.h"

namespace bitsmith {
namespace {

// Weights at the ends that the recipe leaves as they are: a branch would have nothing to add.
std::vector<ValueId> layers_left_alone(const Model& model, const Recipe& recipe) {
  const Graph& graph = model.graph;
  std::vector<ValueId> matrices;
  for (const Node& node : graph.nodes) {
    if (node.op != "linear" && node.op != "conv" && node.op != "embedding") continue;
    const ValueId weight = node.inputs[1];
    if (graph.value(weight).kind != ValueKind::kParameter) continue;
    if (std::ranges::find(matrices, weight) == matrices.end()) matrices.push_back(weight);
  }
  std::vector<ValueId> result;
  if (matrices.empty()) return result;
  const std::vector<Scheme> codes = recipe.candidates_for({.is_end = true});
  for (const ValueId weight : {matrices.front(), matrices.back()}) {
    const Scheme& own = model.parameter(graph.value(weight).name).scheme;
    const bool same =
        codes.size() == 1 && codes[0].codec == own.codec && codes[0].options == own.options;
    if (same) result.push_back(weight);
  }
  return result;
}

}  // namespace

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
  const std::vector<ValueId> kept = layers_left_alone(model, recipe);
  // From the last, so that the numbers of nodes before it stay.
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    if (node.op != "linear") continue;
    const ValueId weight = node.inputs[1];
    if (graph.value(weight).kind != ValueKind::kParameter) continue;
    if (uses[static_cast<size_t>(weight)] != 1) continue;
    if (std::ranges::find(kept, weight) != kept.end()) continue;
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
