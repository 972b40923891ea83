#include "evaluation/network_classifier.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "graph/operators.h"

namespace bitsmith {
namespace {

// Logits 2x and -x of an input [images, 1], then a softmax.
Model network(int64_t images) {
  Model model;
  Graph& g = model.graph;
  static const std::vector<float> kWeights = {2, -1};
  const ValueId x = g.add_input("x", {images, 1});
  const ValueId w = g.add_parameter("w", {2, 1}, "test");
  model.parameters["w"] = {
      "w", {2, 1}, Scheme("f32", nlohmann::json::object()), std::as_bytes(std::span(kWeights))};
  g.outputs = {ops::softmax(g, "softmax", ops::linear(g, "linear", x, w), 1)};
  return model;
}

TEST(NetworkClassifier, GivesLogits) {
  ThreadPool pool(2);
  const std::vector<float> x = {1, 2, 3, 4, 5};
  const std::vector<float> logits = {2, -1, 4, -2, 6, -3, 8, -4, 10, -5};
  // Any number of images, or two at a time.
  for (const int64_t images : {kBatch, int64_t{2}}) {
    NetworkClassifier classifier(network(images), pool);
    EXPECT_EQ(classifier.classes(), 2);
    EXPECT_EQ(classifier(x, 5), logits);
    EXPECT_THROW(classifier(x, 4), Error);
  }
}

TEST(NetworkClassifier, HasOneInputAndOneOutput) {
  ThreadPool pool(1);
  Model model = network(kBatch);
  model.graph.outputs.push_back(model.graph.outputs[0]);
  EXPECT_THROW(NetworkClassifier(model, pool), Error);
}

}  // namespace
}  // namespace bitsmith
