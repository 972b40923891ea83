// For tests: a small network of images, and images for it.
#pragma once

#include "core/error.h"
#include "core/random.h"
#include "core/testing.h"
#include "formats/model.h"
#include "graph/operators.h"
#include "images/dataset.h"
#include "images/preprocessing.h"

namespace bitsmith::tuning_testing {

// Images 3 x 8 x 8 of three classes: a bright pixel block in one of three corners, and noise.
class Blocks final : public ImageDataset {
 public:
  explicit Blocks(int64_t count, bool labels = true) : count_(count), labels_(labels) {}
  int64_t size() const override { return count_; }
  Image image(int64_t i) const override {
    Random random(1, fmt::format("image/{}", i));
    Image image{8, 8, 3, std::vector<uint8_t>(8 * 8 * 3), {}};
    for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random.below(120));
    const int64_t y = i % 3 == 1 ? 5 : 0;
    const int64_t x = i % 3 == 2 ? 5 : 0;
    for (int64_t p = 0; p < 3 * 3 * 3; ++p) {
      const int64_t at = ((y + p / 9) * 8 + x + p / 3 % 3) * 3 + p % 3;
      image.pixels[static_cast<size_t>(at)] = static_cast<uint8_t>(120 + random.below(100));
    }
    return image;
  }
  int64_t label(int64_t i) const override { return labels_ ? i % 3 : kNoLabel; }
  std::string name(int64_t i) const override { return fmt::format("image {}", i); }

 private:
  int64_t count_;
  bool labels_;
};

inline Preprocessing preprocessing() {
  return Preprocessing::from_json({{"scale", 1.0 / 128}, {"mean", 0.5}});
}

// conv 3 -> 8, batch norm, relu, conv 8 -> 8 of stride 2, relu, linear -> 3, softmax.
inline Model make_model(uint64_t seed) {
  Model model;
  Graph& graph = model.graph;
  Random random(seed);
  const auto parameter = [&](const std::string& name, const Shape& shape, float deviation,
                             float mean = 0) {
    auto numbers = std::make_shared<std::vector<std::byte>>(
        static_cast<size_t>(*element_count(shape)) * sizeof(float));
    auto* out = reinterpret_cast<float*>(numbers->data());
    for (int64_t i = 0; i < *element_count(shape); ++i) {
      out[i] = mean + deviation * static_cast<float>(random.normal());
    }
    model.buffers.push_back(numbers);
    model.parameters[name] = {name, shape, Scheme("f32", nlohmann::json::object()), *numbers};
    return graph.add_parameter(name, shape, name);
  };
  ValueId x = graph.add_input("x", {kBatch, 3, 8, 8});
  const ops::Window same{{1, 1}, {1, 1}, {1, 1, 1, 1}};
  x = ops::conv(graph, "first", x, parameter("first.weight", {8, 3, 3, 3}, 0.3F), kNoValue, same);
  x = ops::batch_norm(graph, "norm", x, parameter("norm.scale", {8}, 0.1F, 1),
                      parameter("norm.bias", {8}, 0.1F), parameter("norm.mean", {8}, 0.1F),
                      parameter("norm.variance", {8}, 0.0F, 1), 1e-5);
  x = ops::relu(graph, "relu", x);
  x = ops::conv(graph, "second", x, parameter("second.weight", {8, 8, 3, 3}, 0.2F),
                parameter("second.bias", {8}, 0.1F), {{2, 2}, {1, 1}, {1, 1, 1, 1}});
  x = ops::relu(graph, "relu2", x);
  x = ops::reshape(graph, "flat", x, {kBatch, 128});
  x = ops::linear(graph, "last", x, parameter("last.weight", {3, 128}, 0.1F),
                  parameter("last.bias", {3}, 0.1F));
  graph.outputs.push_back(ops::softmax(graph, "softmax", x, 1));
  return model;
}

}  // namespace bitsmith::tuning_testing
