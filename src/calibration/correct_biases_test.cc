// After bias correction the mean of every channel is that of the original.
#include "calibration/correct_biases.h"

#include <gtest/gtest.h>

#include <algorithm>
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

// A depthwise layer with padding and stride and one without a bias, which read the input: their own
// error is all there is. One behind an activation reads something else in the coded network.
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
  const ValueId d = ops::conv(g, "d", ops::relu(g, "r", a), parameter("d.w", {5, 8, 3, 3}),
                              kNoValue, {{1, 1}, {1, 1}, {1, 1, 1, 1}});
  g.outputs = {a, b, c, d};
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
  for (const char* name : {"a.w", "b.w", "c.w", "d.w"}) {
    const CodedTensor tensor = original.parameter(name);
    std::vector<float> numbers = tensor.decode_all();
    for (float& w : numbers) w = std::nearbyint(w);
    set(coded, name, tensor.shape, numbers);
  }
  ThreadPool pool(2);
  add_missing_biases(coded);
  struct Layer {
    ValueId value;
    size_t channels;
    double products;  // of an output, and how large they are
    double largest;
  };
  const auto farthest = [&](const Model& corrected, const Layer& layer) {
    const auto expected = channel_means(original, layer.value, layer.channels, inputs, pool);
    const auto got = channel_means(corrected, layer.value, layer.channels, inputs, pool);
    double distance = 0;
    for (size_t o = 0; o < layer.channels; ++o) {
      distance = std::max(distance, std::abs(got[o] - expected[o]));
    }
    return distance / (layer.products * layer.products * layer.largest * 0x1p-24);  // in float32
  };
  const Layer behind = {d, 5, 72, 36 * 4};
  for (const MeanInputs means : {MeanInputs::kOriginal, MeanInputs::kCoded}) {
    Model corrected = coded;
    EXPECT_EQ(correct_biases(corrected, original, inputs, pool, means), 4);
    EXPECT_EQ(corrected.parameter("b.bias").shape, Shape{4});
    for (const Layer& layer : {Layer{a, 8, 120, 4}, Layer{b, 4, 120, 4}, Layer{c, 6, 120, 4}}) {
      EXPECT_LE(farthest(corrected, layer), 1) << layer.value;
    }
    if (means == MeanInputs::kCoded) {
      EXPECT_LE(farthest(corrected, behind), 1);
    } else {
      EXPECT_GT(farthest(corrected, behind), 1);
    }
  }
  EXPECT_EQ(correct_biases(original, original, inputs, pool), 0);
}

}  // namespace
}  // namespace bitsmith
