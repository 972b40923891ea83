// Weights as whole multiples of a scale for each row.
#include "runtime/network/integer_layer.h"

#include <gmock/gmock.h>

#include <cmath>

namespace bitsmith {
namespace {

TEST(IntegerLayer, FindsTheScaleOfEachRow) {
  // 4 bits; -128 times a negative number; next to nothing beside its bias; zero; single.
  const std::vector<float> weights = {0.3F,   -0.8F, 0.1F, 1.28F, -0.01F, 0.63F, 1e-20F, 2e-20F,
                                      3e-20F, 0,     0,    0,     0,      0,     7};
  const std::vector<float> bias = {1, 1, 1, -0.25F, 0};
  const auto layer = make_integer_layer(weights, 5, bias, 0.5, 0);
  ASSERT_TRUE(layer.has_value());
  EXPECT_THAT(layer->weights,
              testing::ElementsAre(3, -8, 1, -128, 1, -63, 0, 0, 0, 0, 0, 0, 0, 0, 1));
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(layer->weights[i] * layer->scales[i / 3] / 0.5, weights[i], 1e-7);
  }
  for (size_t o = 0; o < bias.size(); ++o) {
    EXPECT_NEAR(layer->bias[o] * layer->scales[o], bias[o], 1e-7 + std::abs(layer->scales[o]) / 2);
  }
  EXPECT_FALSE(make_integer_layer(std::vector<float>{1, 0.70710678F, 0.1F}, 1, {}, 1, 0));
  EXPECT_FALSE(make_integer_layer(std::vector<float>{1, std::nanf("")}, 1, {}, 1, 0));
  std::vector<float> many(160000, 127.0F);  // sums beyond 32 bits
  for (size_t i = 0; i < many.size(); i += 2) many[i] = 1;
  EXPECT_FALSE(make_integer_layer(many, 1, {}, 1, 0));
}

// Weights that only shifts can multiply with.
TEST(IntegerLayer, TakesSumsOfFewPowersOfTwo) {
  const float scale = 0.0123F;
  const auto codes = [&](std::vector<float> row) -> std::vector<int32_t> {
    for (float& w : row) w *= scale;
    const auto layer = make_integer_layer(row, 1, {}, 1, 0);
    if (!layer) return {};
    EXPECT_FALSE(layer->is_int8);
    EXPECT_NEAR(layer->scales[0] / static_cast<double>(scale) * layer->weights[0] / row[0] *
                    static_cast<double>(scale),
                1, 1e-6);
    return layer->weights;
  };
  using testing::ElementsAre;
  EXPECT_THAT(codes({128, -128, 1}), ElementsAre(128, -128, 1));
  EXPECT_THAT(codes({1, 0, -16384, 64}), ElementsAre(1, 0, -16384, 64));
  EXPECT_THAT(codes({-5, 4096 + 4, 3 * 1024}), ElementsAre(-5, 4100, 3072));
  EXPECT_THAT(codes({1, 0xaaaaab}), ElementsAre());           // twelve powers
  EXPECT_THAT(codes({1, 0x1p20F, 1.00001F}), ElementsAre());  // no multiple
  // The sum of an input's products would leave 32 bits.
  EXPECT_THAT(codes({1, 0x1p23F}), ElementsAre(1, 1 << 23));
  EXPECT_THAT(codes({1, 0x1p23F, 0x1p23F}), ElementsAre());
}

}  // namespace
}  // namespace bitsmith
