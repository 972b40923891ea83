#include "evaluation/operations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codecs/codec_testing.h"
#include "graph/operators.h"

namespace bitsmith {
namespace {

using nlohmann::json;

// One convolution of 4 to 2 channels, 3 x 3, of images of 5 x 5 with padding: 25 * 72 products.
// Half of the weights are 0, the others ±1.
Model network(const std::string& codec, const json& options, int64_t levels) {
  Model model;
  ValueId x = model.graph.add_input("x", {kBatch, 4, 5, 5});
  const auto keep = [&](const std::string& name, const Shape& shape, const Scheme& scheme,
                        const std::vector<float>& values) {
    ThreadPool pool(1);
    auto buffer = std::make_shared<std::vector<std::byte>>(
        testing::encode(scheme, matrix_shape(shape), values, pool).bytes);
    model.parameters[name] = {name, shape, scheme, *buffer};
    model.buffers.push_back(buffer);
  };
  const Scheme f32("f32", json::object());
  if (levels > 0) {
    const ValueId scale = model.graph.add_parameter("scale", {}, "scale");
    keep("scale", {}, f32, {0.5F});
    x = ops::quantize(model.graph, "q", x, scale, kNoValue, 0, 0, levels - 1);
    x = ops::dequantize(model.graph, "d", x, scale, kNoValue, 0);
  }
  const ValueId w = model.graph.add_parameter("w", {2, 4, 3, 3}, "conv.weight");
  std::vector<float> weights;
  for (int i = 0; i < 72; ++i) weights.push_back(i % 4 == 0 ? 1.0F : i % 4 == 1 ? -1.0F : 0.0F);
  keep("w", {2, 4, 3, 3}, Scheme(codec, options), weights);
  model.graph.outputs = {
      ops::conv(model.graph, "y", x, w, kNoValue, {{1, 1}, {1, 1}, {1, 1, 1, 1}})};
  return model;
}

// Activations that are rounded per token are integers to the layers behind.
TEST(Operations, CountRoundedTokensAsIntegers) {
  Model model;
  const ValueId x = model.graph.add_input("x", {kBatch, kTime, 6});
  const ValueId w = model.graph.add_parameter("w", {4, 6}, "w");
  const Scheme scheme("int", {{"bits", 4}, {"group", 0}});
  ThreadPool pool(1);
  auto buffer = std::make_shared<std::vector<std::byte>>(
      testing::encode(scheme, {4, 6}, testing::normal_weights(24, 1), pool).bytes);
  model.parameters["w"] = {"w", {4, 6}, scheme, *buffer};
  model.buffers.push_back(buffer);
  const ValueId rounded = ops::round_tokens(model.graph, "rounded", x, 8);
  model.graph.outputs = {ops::linear(model.graph, "y", rounded, w)};
  const OperationCount count = count_operations(model);
  EXPECT_EQ(count.products, 24);
  EXPECT_EQ(count.bit_operations, 24 * 4 * 8);
}

TEST(Operations, CountsWhatCodesTake) {
  const int64_t products = 25 * 72;
  const OperationCount dense = count_operations(network("f32", json::object(), 0));
  EXPECT_EQ(dense.products, products);
  EXPECT_EQ(dense.multiplications, products);
  EXPECT_EQ(dense.additions, products);
  EXPECT_EQ(dense.bit_operations, products * 32 * 32);
  EXPECT_NEAR(dense.energy_pj, static_cast<double>(products) * (3.7 + 0.9), 1e-6);

  const OperationCount int8 =
      count_operations(network("int", {{"bits", 8}, {"group", 0}, {"symmetric", true}}, 256));
  EXPECT_EQ(int8.bit_operations, products * 8 * 8);
  EXPECT_NEAR(int8.energy_pj, static_cast<double>(products) * (0.2 + 0.1), 1e-6);

  const OperationCount pot = count_operations(network("pot", {{"bits", 4}, {"group", 0}}, 16));
  EXPECT_EQ(pot.multiplications, 0);
  EXPECT_EQ(pot.skipped, products / 2);
  EXPECT_EQ(pot.shifts, products / 2);
  EXPECT_EQ(pot.additions, products / 2);
  EXPECT_EQ(pot.bit_operations, products / 2 * 4);

  const OperationCount ternary = count_operations(network("ternary", json::object(), 256));
  EXPECT_EQ(ternary.multiplications + ternary.shifts, 0);
  EXPECT_EQ(ternary.skipped, products / 2);
  EXPECT_THAT(ternary.text(), ::testing::HasSubstr("50.0 % of products skipped"));
}

}  // namespace
}  // namespace bitsmith
