// Equalization changes no output, and gives both layers of a pair the same ranges.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "formats/model_testing.h"
#include "graph/operators.h"
#include "runtime/network/network_executor.h"
#include "transforms/network.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

// Rows of very different sizes, as after folding batch norms.
model_testing::ModelBuilder builder() {
  return model_testing::ModelBuilder([random = Random(2)](const Shape& shape) mutable {
    std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
    const size_t row = numbers.size() / static_cast<size_t>(shape[0]);
    for (size_t i = 0; i < numbers.size(); ++i) {
      const double size = std::exp2(static_cast<double>(i / row % 7) - 3);
      numbers[i] = static_cast<float>(size * random.normal() / std::sqrt(row));
    }
    return numbers;
  });
}

Model everything() {
  model_testing::ModelBuilder b = builder();
  Graph& g = b.graph;
  const ValueId x = g.add_input("x", {kBatch, 3, 8, 8});
  const ValueId expand = ops::relu(g, "r1", b.conv("expand", x, {12, 3, 1, 1}));
  const ValueId depthwise =
      ops::leaky_relu(g, "r2", b.conv("depth", expand, {12, 1, 3, 3}, 12), 0.1);
  const ValueId project = b.conv("project", depthwise, {8, 12, 1, 1});
  const ValueId grouped = ops::relu(g, "r3", b.conv("grouped", project, {8, 4, 3, 3}, 2));
  const ValueId pooled = ops::max_pool(g, "pool", grouped, {2, 2}, {{2, 2}, {1, 1}, {0, 0, 0, 0}});
  const ValueId clipped = ops::clip(g, "clip", b.conv("six", pooled, {8, 8, 1, 1}), 0, 6);
  const ValueId after = ops::relu(g, "r4", b.conv("after", clipped, {6, 8, 1, 1}));
  const ValueId gate = ops::unary(g, "sigmoid", "gate", b.conv("excite", after, {6, 6, 1, 1}));
  const ValueId last = ops::multiply(g, "gated", b.conv("last", clipped, {6, 8, 1, 1}), gate);
  const ValueId flat = ops::reshape(g, "flat", last, {kBatch, 6 * 16});
  const ValueId hidden = ops::relu(g, "r5",
                                   ops::linear(g, "hidden", flat, b.parameter("hidden.w", {10, 96}),
                                               b.parameter("hidden.b", {10})));
  g.outputs = {ops::linear(g, "head", hidden, b.parameter("head.w", {5, 10}), kNoValue)};
  return b.model;
}

Model rewritten(const Model& model, const Network& network, ThreadPool& pool) {
  Model result = model;
  result.graph = network.graph;
  for (const auto& [name, changes] : network.edits()) {
    const CodedTensor& tensor = model.parameter(name);
    std::vector<float> numbers = tensor.decode_all();
    apply_changes(changes, numbers, pool);
    model_testing::set_parameter(result, name, tensor.shape, numbers);
  }
  return result;
}

std::vector<float> outputs_of(const Model& model, ThreadPool& pool) {
  Random random(7);
  std::vector<float> x(4 * 3 * 64);
  for (float& v : x) v = static_cast<float>(random.normal());
  const std::span<const float> input = x;
  return NetworkExecutor(model, pool).run({&input, 1}, 4)[0];
}

// The largest weight of each row, and of each input channel of ungrouped layers.
std::vector<double> ranges(const Model& model, const std::string& name, bool of_rows,
                           size_t channels) {
  const CodedTensor& tensor = model.parameter(name);
  const std::vector<float> w = tensor.decode_all();
  const auto cols = static_cast<size_t>(tensor.matrix().cols);
  std::vector<double> result(channels, 0);
  for (size_t i = 0; i < w.size(); ++i) {
    double& range = result[of_rows ? i / cols : i % cols / (cols / channels)];
    range = std::max(range, static_cast<double>(std::abs(w[i])));
  }
  return result;
}

TEST(Equalize, ChangesNoOutputAndEvensRanges) {
  const Model model = everything();
  ThreadPool pool(2);
  Network network(model);
  const Transform& transform = Registry<Transform>::instance().get("equalize");
  transform.apply(network, Options(transform.info().options, {{"limit", 1e6}}, "equalize"), pool);
  const Model after = rewritten(model, network, pool);

  const std::vector<float> expected = outputs_of(model, pool);
  const std::vector<float> got = outputs_of(after, pool);
  double largest = 0;
  for (const float v : expected) largest = std::max(largest, static_cast<double>(std::abs(v)));
  for (size_t i = 0; i < got.size(); ++i) {
    // 8 layers of sums of up to 96 products, each rounded.
    EXPECT_NEAR(got[i], expected[i], largest * 8 * 96 * 0x1p-24) << i;
  }
  // A chain has converged: what makes a channel and what reads it have the same range.
  const auto even = [&](const std::string& first, const std::string& second, size_t channels) {
    const std::vector<double> made = ranges(after, first, true, channels);
    const std::vector<double> read = ranges(after, second, false, channels);
    for (size_t c = 0; c < channels; ++c) EXPECT_NEAR(made[c] / read[c], 1, 1e-2) << first << c;
  };
  even("depth.w", "project.w", 12);
  even("grouped.w", "six.w", 8);
  even("last.w", "hidden.w", 6);
  even("hidden.w", "head.w", 10);
  // A clip stands between these.
  EXPECT_EQ(ranges(after, "six.b", false, 8), ranges(model, "six.b", false, 8));
}

TEST(Equalize, LimitsScales) {
  const Model model = everything();
  ThreadPool pool(1);
  Network network(model);
  const Transform& transform = Registry<Transform>::instance().get("equalize");
  transform.apply(network, Options(transform.info().options, {{"limit", 1.5}}, "equalize"), pool);
  const Model after = rewritten(model, network, pool);
  const std::vector<double> before = ranges(model, "head.w", false, 10);
  const std::vector<double> now = ranges(after, "head.w", false, 10);
  for (size_t c = 0; c < 10; ++c) {
    EXPECT_LE(now[c] / before[c], 1.5 + 1e-6);
    EXPECT_GE(now[c] / before[c], 1 / 1.5 - 1e-6);
  }
}

TEST(Equalize, SaysIfThereIsNothingToDo) {
  model_testing::ModelBuilder b = builder();
  Graph& g = b.graph;
  const ValueId x = g.add_input("x", {kBatch, 3, 8, 8});
  const ValueId a = ops::unary(g, "sigmoid", "s", b.conv("a", x, {4, 3, 1, 1}));
  g.outputs = {b.conv("b", a, {4, 4, 1, 1})};
  Network network(b.model);
  ThreadPool pool(1);
  const Transform& transform = Registry<Transform>::instance().get("equalize");
  EXPECT_THROW(transform.apply(network, Options(transform.info().options), pool), Error);
}

}  // namespace
}  // namespace bitsmith
