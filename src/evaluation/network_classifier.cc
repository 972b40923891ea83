#include "evaluation/network_classifier.h"

#include <algorithm>

#include "core/error.h"

namespace bitsmith {
namespace {

// Elements for one of `images`.
int64_t row_elements(const Shape& shape) {
  int64_t count = 1;
  for (size_t i = 1; i < shape.size(); ++i) count *= shape[i];
  return count;
}

}  // namespace

ValueId logits_of(const Graph& graph) {
  const ValueId output = graph.outputs.at(0);
  for (const Node& node : graph.nodes) {
    if (node.op != "softmax" || node.outputs[0] != output) continue;
    // Over all classes, not over each of several predictions.
    const Shape& shape = graph.value(node.inputs[0]).shape;
    const auto axis = static_cast<size_t>(node.integer("axis"));
    return axis == 0 || shape[axis] != row_elements(shape) ? output : node.inputs[0];
  }
  return output;
}

NetworkClassifier::NetworkClassifier(Model model, ThreadPool& pool, Products products) {
  const Graph& graph = model.graph;
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) {
    fail(ErrorCode::kUnsupported, "'{}' has {} inputs and {} outputs; a classifier has one of each",
         model.path.string(), graph.inputs.size(), graph.outputs.size());
  }
  model.graph.outputs[0] = logits_of(graph);
  remove_dead_nodes(model.graph);
  executor_ = std::make_unique<NetworkExecutor>(std::move(model), pool, products);
  classes_ = row_elements(executor_->outputs()[0]);
}

std::vector<float> NetworkClassifier::operator()(std::span<const float> inputs, int64_t count) {
  const int64_t row = row_elements(input());
  if (static_cast<int64_t>(inputs.size()) != count * row) {
    fail(ErrorCode::kInvalidArgument, "the network's input is {}; an image becomes {} numbers",
         to_string(input()), static_cast<int64_t>(inputs.size()) / std::max<int64_t>(1, count));
  }
  const int64_t fixed = executor_->fixed_images();
  if (fixed == 0) return std::move(executor_->run({&inputs, 1}, count)[0]);
  std::vector<float> logits;
  std::vector<float> part;
  for (int64_t begin = 0; begin < count; begin += fixed) {
    part.clear();
    for (int64_t i = 0; i < fixed; ++i) {
      const int64_t image = std::min(begin + i, count - 1);
      const auto from = inputs.subspan(static_cast<size_t>(image * row), static_cast<size_t>(row));
      part.insert(part.end(), from.begin(), from.end());
    }
    const std::span<const float> numbers = part;
    const std::vector<float> own = std::move(executor_->run({&numbers, 1}, fixed)[0]);
    const int64_t used = std::min(fixed, count - begin) * classes_;
    logits.insert(logits.end(), own.begin(), own.begin() + used);
  }
  return logits;
}

}  // namespace bitsmith
