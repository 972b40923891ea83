#include "graph/operators_normalization.h"

#include <cmath>

#include "graph/infer.h"

namespace bitsmith {
namespace {

using namespace infer;

void expect_epsilon(const Node& node) {
  const double epsilon = node.number("epsilon");
  if (!std::isfinite(epsilon) || epsilon < 0) {
    misfit(node, "epsilon must be finite and not negative");
  }
}

Shape infer_rms_norm(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2);
  const int64_t run = parameter_shape(graph, node, 1, 1)[0];
  const int64_t channels = last_extent(graph, node, 0);
  if (run <= 0 || channels % run != 0) {
    misfit(node, fmt::format("{} channels are no multiple of the weight's {}", channels, run));
  }
  expect_epsilon(node);
  return input_shape(graph, node, 0);
}

Shape infer_layer_norm(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 3, 2);
  const int64_t channels = last_extent(graph, node, 0);
  expect_vector(graph, node, 1, channels);
  expect_vector(graph, node, 2, channels);
  expect_epsilon(node);
  return input_shape(graph, node, 0);
}

Shape infer_batch_norm(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 5);
  const Shape& x = input_shape(graph, node, 0);
  if (x.size() < 2) misfit(node, fmt::format("{} is not [B, C, ...]", to_string(x)));
  for (size_t i = 1; i < 5; ++i) expect_vector(graph, node, i, x[1]);
  expect_epsilon(node);
  return x;
}

Shape infer_softmax(const Graph& graph, const Node& node) {
  const Shape shape = same_shape(graph, node);
  axis_attribute(node, "axis", shape.size());
  return shape;
}

Shape infer_reduce(const Graph& graph, const Node& node) {
  const Shape x = same_shape(graph, node);
  const std::vector<int64_t>& axes = node.integers("axes");
  const int64_t keep = node.integer("keep");
  if (keep != 0 && keep != 1) misfit(node, fmt::format("'keep' must be 0 or 1, not {}", keep));
  Shape shape;
  size_t next = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const bool reduced = next < axes.size() && axes[next] == static_cast<int64_t>(i);
    if (!reduced) {
      shape.push_back(x[i]);
      continue;
    }
    if (x[i] <= 0) misfit(node, fmt::format("axis {} of {} is not known", i, to_string(x)));
    if (keep != 0) shape.push_back(1);
    ++next;
  }
  if (next != axes.size() || axes.empty()) {
    misfit(node, fmt::format("'axes' must be one or more of the {} axes, ascending", x.size()));
  }
  return shape;
}

struct OperatorTable {
  OperatorTable() {
    register_operator("rms_norm", "root-mean-square normalisation", true, infer_rms_norm);
    register_operator("layer_norm", "normalisation by mean and variance of the last axis", true,
                      infer_layer_norm);
    register_operator("batch_norm", "normalisation of each channel by stored statistics", false,
                      infer_batch_norm);
    register_operator("softmax", "exponentials that sum to 1 along an axis", false, infer_softmax);
    register_operator("reduce_mean", "mean over some axes", false, infer_reduce);
    register_operator("reduce_sum", "sum over some axes", false, infer_reduce);
    register_operator("reduce_max", "largest element over some axes", false, infer_reduce);
  }
};
const OperatorTable table;

}  // namespace

namespace ops {

ValueId rms_norm(Graph& graph, std::string name, ValueId x, ValueId weight, double epsilon) {
  return graph.add_node("rms_norm", std::move(name), {x, weight}, {{"epsilon", epsilon}});
}

ValueId layer_norm(Graph& graph, std::string name, ValueId x, ValueId weight, ValueId bias,
                   double epsilon) {
  return graph.add_node("layer_norm", std::move(name), {x, weight, bias}, {{"epsilon", epsilon}});
}

ValueId batch_norm(Graph& graph, std::string name, ValueId x, ValueId scale, ValueId bias,
                   ValueId mean, ValueId variance, double epsilon) {
  return graph.add_node("batch_norm", std::move(name), {x, scale, bias, mean, variance},
                        {{"epsilon", epsilon}});
}

ValueId softmax(Graph& graph, std::string name, ValueId x, int64_t axis) {
  return graph.add_node("softmax", std::move(name), {x}, {{"axis", axis}});
}

ValueId reduce(Graph& graph, std::string_view op, std::string name, ValueId x,
               std::vector<int64_t> axes, bool keep) {
  return graph.add_node(op, std::move(name), {x},
                        {{"axes", std::move(axes)}, {"keep", int64_t{keep}}});
}

}  // namespace ops
}  // namespace bitsmith
