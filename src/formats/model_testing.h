// Models that tests put together by hand.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "formats/model.h"
#include "graph/operators.h"

namespace bitsmith::model_testing {

// Gives a parameter of the model's graph these numbers, float32, in memory of the model.
inline void set_parameter(Model& model, const std::string& name, const Shape& shape,
                          const std::vector<float>& numbers) {
  const auto bytes = std::as_bytes(std::span(numbers));
  model.buffers.push_back(
      std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
  model.parameters[name] = {name, shape, Scheme("f32", nlohmann::json::object()),
                            *model.buffers.back()};
}

// A network whose parameters get their numbers from a function of their shape.
class ModelBuilder {
 public:
  using Numbers = std::function<std::vector<float>(const Shape&)>;
  explicit ModelBuilder(Numbers numbers) : numbers_(std::move(numbers)) {}

  Model model;
  Graph& graph = model.graph;

  ValueId parameter(const std::string& name, const Shape& shape) {
    const ValueId id = graph.add_parameter(name, shape, "test");
    set_parameter(model, name, shape, numbers_(shape));
    return id;
  }

  // A convolution that keeps the image's size, with weights [O, C / groups, k, k] and a bias.
  ValueId conv(const std::string& name, ValueId x, const Shape& weight, int64_t groups = 1) {
    const int64_t pad = weight[2] / 2;
    return ops::conv(graph, name, x, parameter(name + ".w", weight),
                     parameter(name + ".b", {weight[0]}), {{1, 1}, {1, 1}, {pad, pad, pad, pad}},
                     groups);
  }

 private:
  Numbers numbers_;
};

}  // namespace bitsmith::model_testing
