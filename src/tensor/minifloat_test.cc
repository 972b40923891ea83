// Small floating-point formats against the tables of their specifications and a slow search.
#include "tensor/minifloat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/random.h"

namespace bitsmith {
namespace {

using ::testing::ElementsAre;

const std::vector<MiniFloat> kFormats = {kE2M1,  kE2M3,     kE3M2,     kE4M3,     kE5M2,     kUE4M3,
                                         kUE5M3, {1, 2, 0}, {3, 0, 3}, {0, 3, 1}, {7, 0, 63}};

TEST(MiniFloat, ValuesOfTheSpecification) {
  std::vector<float> e2m1;
  for (uint8_t code = 0; code < 8; ++code) e2m1.push_back(kE2M1.decode(code));
  EXPECT_THAT(e2m1, ElementsAre(0, 0.5, 1, 1.5, 2, 3, 4, 6));
  EXPECT_EQ(kE2M1.decode(0xf), -6.0F);
  EXPECT_EQ(kE2M3.largest(), 7.5F);
  EXPECT_EQ(kE2M3.decode(1), 0.125F);
  EXPECT_EQ(kE3M2.largest(), 28.0F);
  EXPECT_EQ(kE3M2.decode(1), 0.0625F);
  EXPECT_EQ(kE4M3.largest(), 448.0F);
  EXPECT_EQ(kE4M3.decode(1), 0x1p-9F);
  EXPECT_EQ(kE4M3.decode(8), 0x1p-6F);
  EXPECT_TRUE(std::isnan(kE4M3.decode(0x7f)));
  EXPECT_EQ(kE5M2.largest(), 57344.0F);
  EXPECT_EQ(kE5M2.decode(1), 0x1p-16F);
  EXPECT_TRUE(std::isnan(kE5M2.decode(0x7c)));
  EXPECT_EQ(kUE5M3.largest(), 114688.0F);
  EXPECT_EQ(kE4M3.largest_exponent(), 8);
  EXPECT_EQ(kE5M2.largest_exponent(), 15);
  EXPECT_EQ(kE2M1.largest_exponent(), 2);
}

// Ties of E2M1 as other implementations break them.
TEST(MiniFloat, TiesGoToTheEvenCode) {
  const std::vector<std::pair<float, float>> cases = {
      {0.25F, 0}, {0.75F, 1}, {1.25F, 1}, {1.75F, 2}, {2.5F, 2}, {3.5F, 4}, {5.0F, 4}, {5.01F, 6}};
  for (const auto& [x, expected] : cases) {
    EXPECT_EQ(kE2M1.decode(kE2M1.encode(x)), expected) << x;
    EXPECT_EQ(kE2M1.decode(kE2M1.encode(-x)), -expected) << x;
  }
}

TEST(MiniFloat, EncodeFindsTheNearestOfAllCodes) {
  Random random(1);
  for (const MiniFloat& format : kFormats) {
    for (int i = 0; i < 2000; ++i) {
      const float x = static_cast<float>(random.normal() * std::exp2(random.normal() * 6));
      double best = std::numeric_limits<double>::infinity();
      for (int code = 0; code < 1 << format.bits(); ++code) {
        const double value = static_cast<double>(format.decode(static_cast<uint8_t>(code)));
        if (!std::isnan(value)) best = std::min(best, std::fabs(value - static_cast<double>(x)));
      }
      const float q = format.decode(format.encode(x));
      ASSERT_EQ(std::fabs(static_cast<double>(q) - static_cast<double>(x)), best) << x;
    }
    for (int code = 0; code < 1 << format.bits(); ++code) {
      const float value = format.decode(static_cast<uint8_t>(code));
      if (!std::isnan(value)) {
        ASSERT_EQ(format.encode(value), code);
      }
    }
    EXPECT_EQ(format.decode(format.encode(std::nanf(""))), format.largest());
    EXPECT_EQ(format.decode(format.encode(3e38F)), format.largest());
  }
  EXPECT_EQ(kUE4M3.encode(-1.0F), 0);
}

TEST(E8M0, PowersOfTwo) {
  EXPECT_EQ(e8m0_to_float(127), 1.0F);
  EXPECT_EQ(e8m0_to_float(0), 0x1p-127F);
  EXPECT_EQ(e8m0_to_float(254), 0x1p127F);
  EXPECT_TRUE(std::isnan(e8m0_to_float(255)));
  EXPECT_EQ(e8m0_of_exponent(-200), 0);
  EXPECT_EQ(e8m0_of_exponent(200), 254);
  for (int exponent = -149; exponent < 128; ++exponent) {
    const float power = std::ldexp(1.0F, exponent);
    EXPECT_EQ(floor_log2(power), exponent);
    EXPECT_EQ(floor_log2(std::nextafter(power, 0.0F)), exponent == -149 ? -150 : exponent - 1);
  }
}

}  // namespace
}  // namespace bitsmith
