// Elementwise operators against their definitions in float64.
#include "runtime/kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/kernels/targets_test.h"

namespace bitsmith {
namespace {

constexpr double kEpsilon = 0x1p-24;  // the largest relative error of one rounding

class Elementwise : public EachTarget {};

TEST_P(Elementwise, RmsNorm) {
  Random random(1);
  for (const int64_t channels : {1, 5, 16, 31, 64, 288}) {
    const int64_t runs = 3;
    const std::vector<float> x = normal_floats(random, runs * channels, 3.0);
    const std::vector<float> weight = normal_floats(random, channels);
    std::vector<float> y(x.size());
    rms_norm(x.data(), weight.data(), runs, channels, 1e-5, y.data());
    for (int64_t run = 0; run < runs; ++run) {
      double sum = 0;
      for (int64_t c = 0; c < channels; ++c) {
        const double v = x[static_cast<size_t>(run * channels + c)];
        sum += v * v;
      }
      const double inverse = 1.0 / std::sqrt(sum / static_cast<double>(channels) + 1e-5);
      for (int64_t c = 0; c < channels; ++c) {
        const auto at = static_cast<size_t>(run * channels + c);
        const double expected = static_cast<double>(x[at]) * inverse *
                                static_cast<double>(weight[static_cast<size_t>(c)]);
        ASSERT_NEAR(y[at], expected,
                    std::abs(expected) * kEpsilon * (static_cast<double>(channels) + 4));
      }
    }
    std::vector<float> in_place = x;
    rms_norm(in_place.data(), weight.data(), runs, channels, 1e-5, in_place.data());
    EXPECT_EQ(in_place, y);
  }
}

TEST_P(Elementwise, Rope) {
  Random random(2);
  for (const int64_t head_dim : {2, 10, 32, 48, 64, 128}) {
    const int64_t tokens = 3;
    const int64_t heads = 2;
    const int64_t half = head_dim / 2;
    const std::vector<float> x = normal_floats(random, tokens * heads * head_dim);
    std::vector<float> cosines;
    std::vector<float> sines;
    for (int64_t i = 0; i < tokens * half; ++i) {
      const double angle = 10 * random.uniform();
      cosines.push_back(static_cast<float>(std::cos(angle)));
      sines.push_back(static_cast<float>(std::sin(angle)));
    }
    std::vector<float> y = x;
    rope(y.data(), cosines.data(), sines.data(), tokens, heads, head_dim, y.data());
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < half; ++i) {
          const auto a = static_cast<size_t>((t * heads + h) * head_dim + i);
          const auto b = a + static_cast<size_t>(half);
          const double c = cosines[static_cast<size_t>(t * half + i)];
          const double s = sines[static_cast<size_t>(t * half + i)];
          const double xa = x[a];
          const double xb = x[b];
          const double tolerance = 3 * kEpsilon * (std::abs(xa) + std::abs(xb));
          ASSERT_NEAR(y[a], xa * c - xb * s, tolerance);
          ASSERT_NEAR(y[b], xb * c + xa * s, tolerance);
        }
      }
    }
  }
}

TEST_P(Elementwise, SiluAndProducts) {
  Random random(3);
  for (const int64_t count : {1, 15, 16, 17, 100}) {
    std::vector<float> a = normal_floats(random, count, 20.0);
    const std::vector<float> b = normal_floats(random, count);
    a[0] = -200.0F;
    std::vector<float> silus(a.size());
    std::vector<float> gated(a.size());
    std::vector<float> sums(a.size());
    std::vector<float> products(a.size());
    silu(a.data(), count, silus.data());
    silu_multiply(a.data(), b.data(), count, gated.data());
    add(a.data(), b.data(), count, sums.data());
    multiply(a.data(), b.data(), count, products.data());
    for (size_t i = 0; i < a.size(); ++i) {
      const double x = a[i];
      const double expected = x / (1 + std::exp(-x));
      ASSERT_NEAR(silus[i], expected, 8 * kEpsilon * std::abs(expected) + 1e-35);
      ASSERT_NEAR(gated[i], expected * static_cast<double>(b[i]),
                  9 * kEpsilon * std::abs(expected * static_cast<double>(b[i])) + 1e-35);
      ASSERT_EQ(sums[i], a[i] + b[i]);
      ASSERT_EQ(products[i], a[i] * b[i]);
    }
  }
}

// Near 0, where tanh is its argument, and where it is 1.
TEST_P(Elementwise, GeluTanhAndSoftCaps) {
  Random random(5);
  for (const int64_t count : {1, 15, 16, 17, 100}) {
    std::vector<float> a = normal_floats(random, count, 3.0);
    const std::vector<float> b = normal_floats(random, count);
    a[0] = -200.0F;
    if (count > 2) a[1] = 1e-6F, a[2] = 90.0F;
    std::vector<float> gelus(a.size());
    std::vector<float> gated(a.size());
    std::vector<float> capped(a.size());
    std::vector<float> scaled(a.size());
    gelu_tanh(a.data(), count, gelus.data());
    gelu_tanh_multiply(a.data(), b.data(), count, gated.data());
    soft_cap(a.data(), 1.7F, count, capped.data());
    scale(a.data(), 1.7F, count, scaled.data());
    for (size_t i = 0; i < a.size(); ++i) {
      const double x = a[i];
      const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
      const double expected = x / (1 + std::exp(-2 * u));
      // An error of u, of four roundings, multiplies exp(-2u) by 2u of it.
      const double tolerance = (10 + 8 * std::abs(u)) * kEpsilon * std::abs(expected) + 1e-35;
      ASSERT_NEAR(gelus[i], expected, tolerance);
      ASSERT_NEAR(gated[i], expected * static_cast<double>(b[i]),
                  2 * tolerance * std::max(1.0, std::abs(static_cast<double>(b[i]))));
      const double cap = static_cast<double>(1.7F);
      const double bounded = cap * std::tanh(x / cap);
      ASSERT_NEAR(capped[i], bounded, 8 * kEpsilon * std::abs(bounded));
      ASSERT_EQ(scaled[i], a[i] * 1.7F);
    }
  }
}

TEST_P(Elementwise, Clamps) {
  Random random(4);
  for (const int64_t count : {0, 1, 15, 16, 17, 100}) {
    std::vector<float> a = normal_floats(random, count);
    const std::vector<float> b = normal_floats(random, count);
    if (count > 0) a.back() = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> y(a.size());
    std::vector<float> sum(a.size());
    clamp(a.data(), -0.5f, 1.0f, count, y.data());
    add_clamped(a.data(), b.data(), 0.0f, std::numeric_limits<float>::infinity(), count,
                sum.data());
    for (size_t i = 0; i + 1 < a.size(); ++i) {
      EXPECT_EQ(y[i], std::clamp(a[i], -0.5f, 1.0f));
      EXPECT_EQ(sum[i], std::max(a[i] + b[i], 0.0f));
    }
    if (count == 0) continue;
    EXPECT_TRUE(std::isnan(y.back()));
    EXPECT_TRUE(std::isnan(sum.back()));
  }
}

TEST_P(Elementwise, AddBias) {
  std::vector<float> y(2 * 20, 1.0F);
  std::vector<float> bias(17);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i);
  add_bias(bias.data(), 2, 17, 20, y.data());
  for (size_t r = 0; r < 2; ++r) {
    for (size_t c = 0; c < 20; ++c) {
      EXPECT_EQ(y[r * 20 + c], c < 17 ? 1.0F + bias[c] : 1.0F);
    }
  }
}

TEST_P(Elementwise, SoftmaxAndLogSumExp) {
  Random random(4);
  for (const int64_t count : {1, 7, 16, 33, 32000}) {
    for (const double shift : {0.0, 500.0, -500.0}) {
      std::vector<float> x = normal_floats(random, count, 4.0);
      for (float& v : x) v += static_cast<float>(shift);
      double largest = -1e300;
      for (const float v : x) largest = std::max(largest, static_cast<double>(v));
      double sum = 0;
      for (const float v : x) sum += std::exp(static_cast<double>(v) - largest);
      // Each exponential is good to a few roundings of the float32 it and its argument are; the
      // argument is at most 40 here.
      EXPECT_NEAR(log_sum_exp(x.data(), count), largest + std::log(sum), 50 * kEpsilon);
      std::vector<float> y(x.size());
      softmax(x.data(), count, y.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const double expected = std::exp(static_cast<double>(x[i]) - largest) / sum;
        ASSERT_NEAR(y[i], expected, 100 * kEpsilon * expected + 1e-37);
      }
    }
  }
  EXPECT_EQ(log_sum_exp(nullptr, 0), -std::numeric_limits<double>::infinity());
}

BITSMITH_EACH_TARGET(Elementwise);

}  // namespace
}  // namespace bitsmith
