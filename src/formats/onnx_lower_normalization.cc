// ONNX's norms, softmax and reductions.
#include <algorithm>

#include "formats/onnx_lowering.h"

namespace bitsmith::onnx {
namespace {

// (x - mean) / sqrt(variance + epsilon) * scale + bias in single steps. `scale` and `bias` may be
// kNoValue.
ValueId normalized(Lowering& node, ValueId x, ValueId mean, ValueId variance, double epsilon,
                   ValueId scale, ValueId bias) {
  Graph& g = node.graph();
  const ValueId centred = ops::subtract(g, node.name("centred"), x, mean);
  const ValueId raised = ops::add(g, node.name("raised"), variance, node.scalar(epsilon));
  const ValueId deviation = ops::unary(g, "sqrt", node.name("deviation"), raised);
  ValueId y = ops::divide(g, node.name("normalized"), centred, deviation);
  if (scale != kNoValue) y = ops::multiply(g, node.name("scaled"), y, scale);
  if (bias != kNoValue) y = ops::add(g, node.name("shifted"), y, bias);
  return y;
}

struct Moments {
  ValueId mean, variance;
};
Moments moments(Lowering& node, ValueId x, const std::vector<int64_t>& axes) {
  Graph& g = node.graph();
  const ValueId mean = ops::reduce(g, "reduce_mean", node.name("mean"), x, axes, true);
  const ValueId difference = ops::subtract(g, node.name("difference"), x, mean);
  const ValueId square = ops::multiply(g, node.name("square"), difference, difference);
  return {mean, ops::reduce(g, "reduce_mean", node.name("variance"), square, axes, true)};
}

// A vector of channels so that it broadcasts over [B, C, ...].
ValueId along_channels(Lowering& node, size_t i, size_t rank) {
  Shape shape(rank - 1, 1);
  shape[0] = node.shape(i).empty() ? 1 : node.shape(i)[0];
  return ops::reshape(node.graph(), node.name("channels"), node.value(i, "norm"), shape);
}

void lower_batch_normalization(Lowering& node) {
  if (node.integer("training_mode", 0) != 0) node.unsupported("training_mode is 1");
  for (size_t output = 1; output < node.node.outputs.size(); ++output) {
    if (node.wants(output)) node.unsupported("its statistics are used");
  }
  const size_t rank = node.shape(0).size();
  if (rank < 2) node.corrupt("the input has no channels");
  const double epsilon = node.number("epsilon", 1e-5);
  bool constants = true;
  for (size_t i = 1; i < 5; ++i) constants = constants && node.is_constant(i);
  const ValueId x = node.value(0);
  if (constants) {
    node.set(ops::batch_norm(node.graph(), node.name(), x, node.value(1, "norm.scale"),
                             node.value(2, "norm.bias"), node.value(3, "norm.mean"),
                             node.value(4, "norm.variance"), epsilon));
    return;
  }
  node.set(normalized(node, x, along_channels(node, 3, rank), along_channels(node, 4, rank),
                      epsilon, along_channels(node, 1, rank), along_channels(node, 2, rank)));
}

void lower_instance_normalization(Lowering& node) {
  const size_t rank = node.shape(0).size();
  if (rank < 3) node.corrupt("the input has no spatial axes");
  std::vector<int64_t> axes;
  for (size_t i = 2; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  const ValueId x = node.value(0);
  const Moments m = moments(node, x, axes);
  node.set(normalized(node, x, m.mean, m.variance, node.number("epsilon", 1e-5),
                      along_channels(node, 1, rank), along_channels(node, 2, rank)));
}

// Over the axes from `axis` on: one layer_norm if that is the last one and the parameters are
// constants.
void lower_layer_normalization(Lowering& node) {
  const Shape x_shape = node.shape(0);
  const size_t axis = node.axis(node.integer("axis", -1), x_shape.size());
  const double epsilon = node.number("epsilon", 1e-5);
  const bool constants = node.is_constant(1) && (!node.has(2) || node.is_constant(2));
  const auto is_vector = [&](size_t i) { return !node.has(i) || node.shape(i).size() == 1; };
  const ValueId x = node.value(0);
  const bool moments_wanted = node.wants(1) || node.wants(2);
  if (axis + 1 == x_shape.size() && constants && is_vector(1) && is_vector(2) && !moments_wanted &&
      node.shape(1) == Shape{x_shape.back()}) {
    node.set(ops::layer_norm(node.graph(), node.name(), x, node.value(1, "norm.scale"),
                             node.optional_value(2, "norm.bias"), epsilon));
    return;
  }
  std::vector<int64_t> axes;
  for (size_t i = axis; i < x_shape.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  const Moments m = moments(node, x, axes);
  node.set(normalized(node, x, m.mean, m.variance, epsilon, node.value(1, "norm.scale"),
                      node.optional_value(2, "norm.bias")));
  node.set(m.mean, kFloat, 1);
  if (!node.wants(2)) return;
  const ValueId raised =
      ops::add(node.graph(), node.name("variance_raised"), m.variance, node.scalar(epsilon));
  const ValueId deviation = ops::unary(node.graph(), "sqrt", node.name("std"), raised);
  node.set(ops::divide(node.graph(), node.name("inverse"), node.scalar(1), deviation), kFloat, 2);
}

// Before opset 13 all axes from `axis` on were one: those are joined, and parted again.
template <class Body>
void along_axis(Lowering& node, const Body& body) {
  const Shape shape = node.shape(0);
  const size_t axis = node.axis(node.integer("axis", node.opset() < 13 ? 1 : -1), shape.size());
  const ValueId x = node.value(0);
  if (node.opset() >= 13 || axis + 1 == shape.size()) {
    node.set(body(node.name(), x, static_cast<int64_t>(axis)));
    return;
  }
  Shape joined(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(axis));
  const auto count = element_count(std::span(shape).subspan(axis));
  if (!count) node.unsupported("it reduces over an extent that is not fixed");
  joined.push_back(*count);
  const ValueId flat = ops::reshape(node.graph(), node.name("joined"), x, joined);
  const ValueId y = body(node.name("flat"), flat, static_cast<int64_t>(axis));
  node.set(ops::reshape(node.graph(), node.name(), y, shape));
}

void lower_softmax(Lowering& node) {
  along_axis(node, [&](std::string name, ValueId x, int64_t axis) {
    return ops::softmax(node.graph(), std::move(name), x, axis);
  });
}

// x - max - log(sum of e^(x - max))
void lower_log_softmax(Lowering& node) {
  along_axis(node, [&](std::string name, ValueId x, int64_t axis) {
    Graph& g = node.graph();
    const ValueId top = ops::reduce(g, "reduce_max", node.name("top"), x, {axis}, true);
    const ValueId below = ops::subtract(g, node.name("below"), x, top);
    const ValueId exp = ops::unary(g, "exp", node.name("exp"), below);
    const ValueId sum = ops::reduce(g, "reduce_sum", node.name("sum"), exp, {axis}, true);
    const ValueId log = ops::unary(g, "log", node.name("log"), sum);
    return ops::subtract(g, std::move(name), below, log);
  });
}

struct Reduction {
  std::vector<int64_t> axes;  // ascending; empty: nothing is reduced
  bool keep;
};
Reduction read_reduction(const Lowering& node) {
  const size_t rank = node.shape(0).size();
  Reduction r{{}, node.integer("keepdims", 1) != 0};
  for (const int64_t axis : node.integers("axes", 1).value_or(std::vector<int64_t>{})) {
    r.axes.push_back(static_cast<int64_t>(node.axis(axis, rank)));
  }
  std::ranges::sort(r.axes);
  if (r.axes.empty() && node.integer("noop_with_empty_axes", 0) == 0) {
    for (size_t i = 0; i < rank; ++i) r.axes.push_back(static_cast<int64_t>(i));
  }
  return r;
}

ValueId reduced(Lowering& node, std::string_view op, std::string name, ValueId x) {
  const Reduction r = read_reduction(node);
  if (r.axes.empty()) return x;
  for (const int64_t axis : r.axes) {
    if (node.shape(0)[static_cast<size_t>(axis)] < 0) {
      node.unsupported("it reduces over the batch, whose extent is not fixed");
    }
  }
  return ops::reduce(node.graph(), op, std::move(name), x, r.axes, r.keep);
}

void lower_reduce_mean(Lowering& node) {
  node.set(reduced(node, "reduce_mean", node.name(), node.value(0)));
}
void lower_reduce_sum(Lowering& node) {
  node.set(reduced(node, "reduce_sum", node.name(), node.value(0)));
}
void lower_reduce_max(Lowering& node) {
  node.set(reduced(node, "reduce_max", node.name(), node.value(0)));
}
void lower_reduce_min(Lowering& node) {
  const ValueId minus = node.scalar(-1);
  const ValueId x = ops::multiply(node.graph(), node.name("negative"), node.value(0), minus);
  const ValueId top = reduced(node, "reduce_max", node.name("top"), x);
  node.set(ops::multiply(node.graph(), node.name(), top, minus));
}
void lower_reduce_l1(Lowering& node) {
  const ValueId x = ops::unary(node.graph(), "abs", node.name("abs"), node.value(0));
  node.set(reduced(node, "reduce_sum", node.name(), x));
}
ValueId sum_of_squares(Lowering& node, std::string name) {
  const ValueId x = node.value(0);
  const ValueId square = ops::multiply(node.graph(), node.name("square"), x, x);
  return reduced(node, "reduce_sum", std::move(name), square);
}
void lower_reduce_sum_square(Lowering& node) { node.set(sum_of_squares(node, node.name())); }
void lower_reduce_l2(Lowering& node) {
  const ValueId sum = sum_of_squares(node, node.name("sum"));
  node.set(ops::unary(node.graph(), "sqrt", node.name(), sum));
}
void lower_reduce_log_sum(Lowering& node) {
  const ValueId sum = reduced(node, "reduce_sum", node.name("sum"), node.value(0));
  node.set(ops::unary(node.graph(), "log", node.name(), sum));
}

const Rules kRules = {
    {"BatchNormalization", lower_batch_normalization},
    {"InstanceNormalization", lower_instance_normalization},
    {"LayerNormalization", lower_layer_normalization},
    {"Softmax", lower_softmax},
    {"LogSoftmax", lower_log_softmax},
    {"ReduceMean", lower_reduce_mean},
    {"ReduceSum", lower_reduce_sum},
    {"ReduceMax", lower_reduce_max},
    {"ReduceMin", lower_reduce_min},
    {"ReduceL1", lower_reduce_l1},
    {"ReduceL2", lower_reduce_l2},
    {"ReduceSumSquare", lower_reduce_sum_square},
    {"ReduceLogSum", lower_reduce_log_sum},
};

}  // namespace
}  // namespace bitsmith::onnx
