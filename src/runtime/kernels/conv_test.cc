// Convolutions against plain loops, on every target: integers bit for bit, floats within rounding.
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "runtime/kernels/conv_float.h"
#include "runtime/kernels/conv_int8.h"
#include "runtime/kernels/conv_sparse.h"
#include "runtime/kernels/conv_test.h"
#include "runtime/kernels/conv_winograd.h"

namespace bitsmith {
namespace {

// Codes at both ends of the range.
struct Int8Problem : IntegerProblem<int8_t> {
  Int8Problem(const ConvCase& c, uint64_t seed)
      : IntegerProblem(c, seed, 1e4, [](Random& random) {
          const uint64_t kind = random.below(4);
          const auto code = static_cast<int>(random.below(256)) - 128;
          return static_cast<int8_t>(kind == 0 ? -128 : kind == 1 ? 127 : code);
        }) {}

  std::vector<uint8_t> expected() const {
    std::vector<uint8_t> y(expected_size());
    convolve_int8_reference(spec, x.data(), images, y.data());
    return y;
  }
  std::vector<uint8_t> run(int threads = 1) const {
    ThreadPool pool(threads);
    std::vector<uint8_t> y(expected_size());
    Int8Conv(spec).run(x.data(), images, y.data(), pool);
    return y;
  }
};

class Conv : public EachTarget {};

TEST_P(Conv, IntegersEqualTheReferenceBitForBit) {
  for (const ConvCase& c : conv_cases()) {
    SCOPED_TRACE(c.name);
    Int8Problem problem(c, 1);
    const std::vector<uint8_t> expected = problem.expected();
    // Most results must lie inside the range, or rounding would not be tested.
    const auto inside = std::ranges::count_if(expected, [](uint8_t y) { return y > 0 && y < 255; });
    if (expected.size() >= 100) {
      EXPECT_GT(inside * 3, static_cast<int64_t>(expected.size()));
    }
    EXPECT_EQ(problem.run(), expected);
    EXPECT_EQ(problem.run(3), expected);

    problem.spec.x_zero = 0;
    EXPECT_EQ(problem.run(), problem.expected());
    EXPECT_EQ(problem.run(3), problem.expected());

    problem.spec.bias = {};
    problem.spec.y_zero = problem.spec.y_min = 17;
    problem.spec.y_max = 200;
    EXPECT_EQ(problem.run(), problem.expected());
  }
}

TEST_P(Conv, SumsAsNumbersEqualTheReferenceBitForBit) {
  for (const ConvCase& c : conv_cases()) {
    SCOPED_TRACE(c.name);
    Int8Problem problem(c, 6);
    problem.spec.scales = {};
    problem.spec.number_scales = problem.number_scales;
    for (const bool clamped : {false, true}) {
      if (clamped) problem.spec.x_zero = 0;
      if (clamped) problem.spec.low = 0;
      if (clamped) problem.spec.high = 20;
      std::vector<float> expected(problem.expected_size());
      convolve_int8_reference(problem.spec, problem.x.data(), c.images, expected.data());
      const Int8Conv conv(problem.spec);
      for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        std::vector<float> y(expected.size());
        conv.run(problem.x.data(), c.images, y.data(), pool);
        EXPECT_EQ(y, expected);
      }
    }
  }
}

// Results far beyond 8 and 16 bits, on both sides, in panels written alone and together.
TEST_P(Conv, ScalesAboveOneQuarter) {
  for (const ConvCase& c : {ConvCase{"large", square(8, 5, 20, 1, 1, 0), 1},
                            ConvCase{"pairs", square(8, 5, 32, 1, 1, 0), 2},
                            ConvCase{"depthwise", grouped(square(64, 5, 64, 3, 1, 1), 64), 1}}) {
    SCOPED_TRACE(c.name);
    Int8Problem problem(c, 2);
    for (int8_t& w : problem.weights) w = static_cast<int8_t>(w / 127);
    for (size_t o = 0; o < problem.scales.size(); ++o) {
      problem.bias[o] = o % 20 == 3 ? 1 << 29 : o % 20 == 7 ? -(1 << 29) : 0;
      problem.scales[o] = make_dyadic(std::exp2(static_cast<double>(o % 20) - 8));
    }
    EXPECT_EQ(problem.run(), problem.expected());
    problem.spec.x_zero = 0;
    problem.spec.y_min = 3;
    EXPECT_EQ(problem.run(), problem.expected());
  }
}

// A batch large enough to be cut into many parts, by images and by rows.
TEST_P(Conv, CutsOfLargeWork) {
  for (const ConvCase& c : {ConvCase{"images", square(16, 12, 16, 3, 1, 1), 70},
                            ConvCase{"rows", square(16, 90, 4, 3, 2, 1), 2},
                            ConvCase{"wide", square(512, 4, 40, 1, 1, 0), 30}}) {
    SCOPED_TRACE(c.name);
    const Int8Problem problem(c, 3);
    const std::vector<uint8_t> expected = problem.expected();
    EXPECT_EQ(problem.run(1), expected);
    EXPECT_EQ(problem.run(2), expected);
  }
}

TEST(ConvSums, MustFit32Bits) {
  Int8Problem problem({"long", square(70000, 1, 1, 1, 1, 0), 1}, 4);
  std::ranges::fill(problem.weights, int8_t{127});
  EXPECT_THROW(problem.run(), Error);
  std::ranges::fill(problem.weights, int8_t{60});
  EXPECT_NO_THROW(problem.run());
}

// The float definition in float64, and the sum of magnitudes for the error bound.
struct Plain {
  std::vector<double> y;
  std::vector<double> magnitude;
};

Plain convolve_plainly(const FloatConvSpec& spec, const std::vector<float>& x, int64_t images) {
  const ConvShape& s = spec.shape;
  Plain result;
  const int64_t inputs = s.group_channels();
  for (int64_t i = 0; i < images; ++i) {
    for (int64_t row = 0; row < s.out_height(); ++row) {
      for (int64_t col = 0; col < s.out_width(); ++col) {
        for (int64_t o = 0; o < s.outputs; ++o) {
          double sum = spec.bias.empty() ? 0 : spec.bias[static_cast<size_t>(o)];
          double magnitude = std::abs(sum);
          for (int64_t tap = 0; tap < s.kernel_h * s.kernel_w; ++tap) {
            const int64_t iy = row * s.stride_h + tap / s.kernel_w * s.dilation_h - s.pad_top;
            const int64_t ix = col * s.stride_w + tap % s.kernel_w * s.dilation_w - s.pad_left;
            if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
            for (int64_t c = 0; c < inputs; ++c) {
              const int64_t channel = o / s.group_outputs() * inputs + c;
              const double a = x[static_cast<size_t>(
                  ((i * s.height + iy) * s.width + ix) * s.channels + channel)];
              const double w = spec.weights[static_cast<size_t>(
                  (o * inputs + c) * s.kernel_h * s.kernel_w + tap)];
              sum += a * w;
              magnitude += std::abs(a * w);
            }
          }
          result.y.push_back(std::clamp<double>(sum, spec.y_min, spec.y_max));
          result.magnitude.push_back(magnitude);
        }
      }
    }
  }
  return result;
}

// Skipping zeros changes no bit.
TEST_P(Conv, SparseOnesEqualDenseOnes) {
  std::vector<ConvCase> all = conv_cases();
  all.push_back({"large_image", square(3, 40, 5, 3, 1, 1), 2});
  for (const ConvCase& c : all) {
    SCOPED_TRACE(c.name);
    const ConvShape& s = c.shape;
    if (s.is_depthwise()) continue;
    Random random(7, c.name);
    const std::vector<float> x =
        normal_floats(random, c.images * s.height * s.width * s.channels + kConvSlackBytes);
    for (const double density : {0.0, 0.1, 0.6, 1.0}) {
      std::vector<float> weights = normal_floats(random, s.weights());
      for (float& w : weights) w = random.uniform() < density ? w : 0.0F;
      const std::vector<float> bias = normal_floats(random, s.outputs);
      const FloatConvSpec spec{s, weights, bias, -0.5F, 1.5F};
      const auto size = static_cast<size_t>(c.images * s.pixels() * s.outputs);
      std::vector<float> expected(size);
      ThreadPool one(1);
      FloatConv(spec).run(x.data(), c.images, expected.data(), one);
      for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        std::vector<float> y(size, 99.0F);
        SparseConv(spec).run(x.data(), c.images, y.data(), pool);
        ASSERT_EQ(y, expected) << density << ", " << threads << " threads";
      }
    }
  }
}

// The same bits with other threads, and for each image alone.
template <class Kernel>
void expect_independence(const Kernel& conv, const std::vector<float>& x, int64_t images,
                         const std::vector<float>& y) {
  const ConvShape& s = conv.shape();
  std::vector<float> again(y.size());
  ThreadPool three(3);
  conv.run(x.data(), images, again.data(), three);
  ASSERT_EQ(again, y);
  ThreadPool one(1);
  std::ranges::fill(again, 0.0F);
  for (int64_t i = 0; i < images; ++i) {
    conv.run(x.data() + i * s.height * s.width * s.channels, 1,
             again.data() + i * s.pixels() * s.outputs, one);
  }
  ASSERT_EQ(again, y);
}

// A kernel against the definition, with and without bias and clamp; bound(expected, i): of result
// i.
template <class Kernel, class Bound>
void check_floats(const ConvCase& c, uint64_t seed, const Bound& bound) {
  SCOPED_TRACE(c.name);
  const ConvShape& s = c.shape;
  Random random(seed, c.name);
  const std::vector<float> x =
      normal_floats(random, c.images * s.height * s.width * s.channels + kConvSlackBytes);
  const std::vector<float> weights = normal_floats(random, s.weights());
  const std::vector<float> bias = normal_floats(random, s.outputs);
  for (const bool clamped : {false, true}) {
    FloatConvSpec spec{s, weights, {}};
    if (clamped) spec = {s, weights, bias, 0.0F, 1.5F};
    const Plain expected = convolve_plainly(spec, x, c.images);
    std::vector<float> y(expected.y.size());
    ThreadPool pool(1);
    const Kernel conv(spec);
    conv.run(x.data(), c.images, y.data(), pool);
    for (size_t i = 0; i < y.size(); ++i) {
      ASSERT_NEAR(y[i], expected.y[i], bound(expected, i)) << i;
    }
    expect_independence(conv, x, c.images, y);
  }
}

TEST_P(Conv, FloatsWithinRounding) {
  for (const ConvCase& c : conv_cases()) {
    // Each of n additions rounds a partial sum that is at most the sum of magnitudes.
    const double n = static_cast<double>(c.shape.weights() / c.shape.outputs) + 1;
    check_floats<FloatConv>(c, 5, [&](const Plain& expected, size_t i) {
      return 0x1p-24 * n * expected.magnitude[i] + 1e-30;
    });
  }
}

TEST_P(Conv, WinogradWithinThirtyTwoRoundings) {
  ConvShape uneven = square(32, 7, 48, 3, 1, 0);
  uneven.width = 10;
  uneven.pad_top = 2;
  uneven.pad_right = 1;
  for (const ConvCase& c : {ConvCase{"same", square(16, 12, 16, 3, 1, 1), 3},
                            {"rest", square(64, 7, 32, 3, 1, 1), 2},
                            {"one_tile", square(16, 3, 32, 3, 1, 0), 2},
                            {"beyond", square(16, 1, 16, 3, 1, 2), 30},
                            {"uneven", uneven, 2}}) {
    ASSERT_TRUE(WinogradConv::can(c.shape));
    // A tile's pixels share the rounding of the largest of them.
    check_floats<WinogradConv>(c, 8, [](const Plain& expected, size_t) {
      return 32 * 0x1p-24 * std::ranges::max(expected.magnitude);
    });
  }
}

TEST(Winograd, IsForPlainKernelsOfWholeVectors) {
  EXPECT_TRUE(WinogradConv::can(square(16, 8, 16, 3, 1, 1)));
  EXPECT_FALSE(WinogradConv::can(square(16, 8, 16, 3, 2, 1)));
  EXPECT_FALSE(WinogradConv::can(square(16, 8, 16, 5, 1, 1)));
  EXPECT_FALSE(WinogradConv::can(square(24, 8, 16, 3, 1, 1)));
  EXPECT_FALSE(WinogradConv::can(dilated(square(16, 8, 16, 3, 1, 1), 2, 2)));
  EXPECT_FALSE(WinogradConv::can(grouped(square(32, 8, 32, 3, 1, 1), 2)));
  EXPECT_TRUE(WinogradConv::pays(square(64, 8, 64, 3, 1, 1)));
  EXPECT_FALSE(WinogradConv::pays(square(16, 32, 16, 3, 1, 1)));
  EXPECT_FALSE(WinogradConv::pays(square(64, 3, 64, 3, 1, 0)));  // one pixel of a tile
}

BITSMITH_EACH_TARGET(Conv);

}  // namespace
}  // namespace bitsmith
