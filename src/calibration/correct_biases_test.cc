// After bias correction the mean of every channel is that of the original.
#include "calibration/correct_biases.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "graph/operators.h"

namespace bitsmith {
namespace {

void set(Model& model, const std::string& name, const Shape& shape,
         const std::vector<float>& numbers) {
  const auto bytes = std::as_bytes(std::span(numbers));
  model.buffers.push_back(
      std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
  model.parameters[name] = {name, shape, Scheme("f32", nlohmann::json::object()),
                            *model.buffers.back()};
}

std::vector<double> channel_means(const Model& model, ValueId value, size_t channels,
                                  const CalibrationInputs& inputs, ThreadPool& pool) {
  std::vector<double> means(channels, 0);
  observe_values(
      model, {&value, 1}, inputs, pool, [&](size_t, std::span<const float> x, int64_t images) {
        const size_t row = x.size() / static_cast<size_t>(images);
        for (size_t i = 0; i < x.size(); ++i) {
          means[i % row / (row / channels)] += x[i] / static_cast<double>(row / channels * 64);
        }
      });
  return means;
}

// The layers read the input, a depthwise one with padding and stride and one without a bias: their
// own error is all there is.
TEST(CorrectBiases, RestoresTheMeanOfEveryChannel) {
  Model original;
  Graph& g = original.graph;
  Random random(1);
  const auto parameter = [&](const std::string& name, const Shape& shape) {
    std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
    for (float& x : numbers) x = static_cast<float>(random.normal());
    set(original, name, shape, numbers);
    return g.add_parameter(name, shape, "test");
  };
  const ValueId x = g.add_input("x", {kBatch, 4, 6, 5});
  const ValueId a = ops::conv(g, "a", x, parameter("a.w", {8, 4, 3, 3}), parameter("a.b", {8}),
                              {{1, 1}, {1, 1}, {1, 1, 1, 1}});
  const ValueId b = ops::conv(g, "b", x, parameter("b.w", {4, 1, 3, 3}), kNoValue,
                              {{2, 2}, {1, 1}, {1, 1, 1, 1}}, 4);
  const ValueId flat = ops::reshape(g, "flat", x, {kBatch, 120});
  const ValueId c = ops::linear(g, "c", flat, parameter("c.w", {6, 120}), parameter("c.b", {6}));
  g.outputs = {a, b, c};
  CalibrationInputs inputs;
  inputs.images = 64;
  inputs.batch = [](int64_t begin, int64_t count) {
    std::vector<float> numbers;
    for (int64_t i = begin; i < begin + count; ++i) {
      Random own(2, std::to_string(i));
      // Means differ by place, so that padding matters.
      for (int e = 0; e < 120; ++e) numbers.push_back(static_cast<float>(own.normal() + e % 7));
    }
    return std::vector<std::vector<float>>{numbers};
  };
  Model coded = original;
  for (const char* name : {"a.w", "b.w", "c.w"}) {
    const CodedTensor tensor = original.parameter(name);
    std::vector<float> numbers = tensor.decode_all();
    for (float& w : numbers) w = std::nearbyint(w);
    set(coded, name, tensor.shape, numbers);
  }
  ThreadPool pool(2);
  add_missing_biases(coded);
  EXPECT_EQ(correct_biases(coded, original, inputs, pool), 3);
  EXPECT_EQ(coded.parameter("b.bias").shape, Shape{4});
  const std::vector<std::pair<ValueId, size_t>> values = {{a, 8}, {b, 4}, {c, 6}};
  for (const auto& [value, channels] : values) {
    const auto expected = channel_means(original, value, channels, inputs, pool);
    const auto got = channel_means(coded, value, channels, inputs, pool);
    for (size_t o = 0; o < channels; ++o) {
      // Sums of up to 120 products of about 4, in float32.
      EXPECT_NEAR(got[o], expected[o], 120 * 4 * 120 * 0x1p-24) << value << " " << o;
    }
  }
  EXPECT_EQ(correct_biases(coded, coded, inputs, pool), 0);
}

}  // namespace
}  // namespace bitsmith
