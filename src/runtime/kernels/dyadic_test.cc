// The rounding rule against exact rational arithmetic.
#include "runtime/kernels/dyadic.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/random.h"

namespace bitsmith {
namespace {

// floor(a * multiplier * 2^(left - 32 - shift) + 1/2): product and half are below 2^62.
int64_t exact(int32_t a, const Dyadic& d) {
  const int bits = 32 + d.shift - d.left;
  return (int64_t{a} * d.multiplier + (int64_t{1} << (bits - 1))) >> bits;
}

TEST(Dyadic, StandsForTheScale) {
  for (double scale = 0x1p-32; scale <= kMaxDyadicScale; scale *= 1.37) {
    const Dyadic d = make_dyadic(scale);
    EXPECT_GE(d.multiplier, 1 << 30) << scale;
    EXPECT_GE(d.shift, 1);
    EXPECT_LE(d.shift, 30);
    const double stands_for = std::ldexp(d.multiplier, d.left - 32 - d.shift);
    EXPECT_LE(std::abs(stands_for - scale), scale * 0x1p-31) << scale;
    EXPECT_EQ(d.left == 0, stands_for < 0.25) << scale;
  }
  EXPECT_EQ(scale_rounded(1 << 30, make_dyadic(0)), 0);
  EXPECT_EQ(scale_rounded(1 << 30, make_dyadic(1e-30)), 0);
  // The fraction rounds up to the next power of two.
  EXPECT_EQ(make_dyadic(std::nextafter(0.125, 0)).multiplier, 1 << 30);
  for (const double bad : {-2 * kMaxDyadicScale, 2 * kMaxDyadicScale, std::nan("")}) {
    EXPECT_THROW(make_dyadic(bad), Error) << bad;
  }
}

TEST(Dyadic, RoundsToNearestHalvesUpward) {
  Random random(1);
  for (int i = 0; i < 200000; ++i) {
    const double scale = std::exp2(random.uniform() * 50 - 34);
    const Dyadic d = make_dyadic(i % 2 == 0 ? scale : -scale);
    // Any sum whose result is a code, and some beyond.
    const double range = std::min(0x1p31 - 1, 1000 / scale);
    const auto a = static_cast<int32_t>((random.uniform() * 2 - 1) * range);
    ASSERT_EQ(scale_rounded(a, d), exact(a, d)) << a << " * " << scale;
  }
  const Dyadic half = make_dyadic(0.5);
  EXPECT_EQ(scale_rounded(3, half), 2);
  EXPECT_EQ(scale_rounded(-3, half), -1);
  const Dyadic eighth = make_dyadic(0.125);
  EXPECT_EQ(scale_rounded(4, eighth), 1);
  EXPECT_EQ(scale_rounded(-4, eighth), 0);
  EXPECT_EQ(scale_rounded(-5, eighth), -1);
}

TEST(Dyadic, ExtremeSumsKeepTheirSign) {
  for (const double scale : {1e-9, 0.2, 0.3, 1.0, 1000.0, kMaxDyadicScale}) {
    const Dyadic d = make_dyadic(scale);
    for (const int32_t a : {std::numeric_limits<int32_t>::max(), 1 << 30}) {
      EXPECT_EQ(requantize(a, d, 3, 0, 255), scale < 1e-8 ? exact(a, d) + 3 : 255) << scale;
      EXPECT_EQ(requantize(-a, d, 3, 2, 255), 2) << scale;
    }
  }
}

TEST(Dyadic, PairsAddWithoutOverflow) {
  Random random(2);
  for (int i = 0; i < 10000; ++i) {
    const double a = std::exp2(random.uniform() * 24 - 12);
    const double b = std::exp2(random.uniform() * 24 - 12);
    const DyadicPair pair = make_dyadic_pair(a, b);
    const int64_t most =
        int64_t{255} * (pair.a_multiplier + pair.b_multiplier) + (int64_t{1} << (pair.shift - 1));
    ASSERT_LT(most, int64_t{1} << 31);
    const double precision = 0.5 * std::exp2(-pair.shift);
    ASSERT_NEAR(std::ldexp(pair.a_multiplier, -pair.shift), a, precision);
    ASSERT_NEAR(std::ldexp(pair.b_multiplier, -pair.shift), b, precision);
  }
}

}  // namespace
}  // namespace bitsmith
