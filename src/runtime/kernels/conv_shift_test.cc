// Shift-and-add convolutions against the plain specification, bit for bit on every target.
#include "runtime/kernels/conv_shift.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "runtime/kernels/conv_int8.h"
#include "runtime/kernels/conv_test.h"

namespace bitsmith {
namespace {

// A power of two below 2^span, or a sum of `words` of them, or zero.
struct ShiftProblem : IntegerProblem<int32_t> {
  ShiftProblem(const ConvCase& c, uint64_t seed, int span, int words)
      : IntegerProblem(c, seed, 130 * std::exp2(span - 1) * words, [&](Random& random) {
          int32_t w = 0;
          const auto count = random.below(static_cast<uint64_t>(words) + 1);
          for (uint64_t i = 0; i < count; ++i) {
            w += int32_t{1} << random.below(static_cast<uint64_t>(span));
          }
          return random.below(2) == 0 ? w : -w;
        }) {}

  template <class Y = uint8_t>
  std::vector<Y> expected() const {
    std::vector<Y> y(expected_size());
    convolve_shift_reference(spec, x.data(), images, y.data());
    return y;
  }
  template <class Y = uint8_t>
  std::vector<Y> run(int threads = 1) const {
    ThreadPool pool(threads);
    std::vector<Y> y(expected_size());
    ShiftConv(spec).run(x.data(), images, y.data(), pool);
    return y;
  }
};

class Shift : public EachTarget {};

TEST_P(Shift, EqualsTheReferenceBitForBit) {
  for (const ConvCase& c : conv_cases()) {
    SCOPED_TRACE(c.name);
    for (const auto& [span, words] : {std::pair(15, 1), {7, 2}, {4, 3}}) {
      ShiftProblem problem(c, 1, span, words);
      const std::vector<uint8_t> expected = problem.expected();
      const auto inside =
          std::ranges::count_if(expected, [](uint8_t y) { return y > 0 && y < 255; });
      if (expected.size() >= 100) {
        EXPECT_GT(inside * 3, static_cast<int64_t>(expected.size()));
      }
      EXPECT_EQ(problem.run(), expected);
      EXPECT_EQ(problem.run(3), expected);
      problem.spec.bias = {};
      problem.spec.y_zero = problem.spec.y_min = 17;
      problem.spec.y_max = 200;
      EXPECT_EQ(problem.run(), problem.expected());
    }
  }
}

TEST_P(Shift, SumsAsNumbersEqualTheReferenceBitForBit) {
  for (const ConvCase& c : conv_cases()) {
    SCOPED_TRACE(c.name);
    ShiftProblem problem(c, 2, 12, 2);
    problem.spec.scales = {};
    problem.spec.number_scales = problem.number_scales;
    EXPECT_EQ(problem.run<float>(), problem.expected<float>());
    problem.spec.low = 0;
    problem.spec.high = 20;
    EXPECT_EQ(problem.run<float>(3), problem.expected<float>());
  }
}

// More images than are worked on at a time, long rows of terms, more terms of one exponent than 16
// bits can add up.
TEST_P(Shift, LargeWork) {
  for (const ConvCase& c : {ConvCase{"images", square(16, 12, 17, 3, 1, 1), 70},
                            ConvCase{"rows", square(5, 70, 4, 3, 2, 1), 2},
                            ConvCase{"connected", square(700, 1, 20, 1, 1, 0), 130}}) {
    SCOPED_TRACE(c.name);
    for (const int span : {1, 2, 9}) {
      ShiftProblem problem(c, 3, span, 1);
      std::ranges::fill(problem.x, uint8_t{255});
      EXPECT_EQ(problem.run(1), problem.expected()) << span;
      EXPECT_EQ(problem.run(2), problem.expected()) << span;
    }
  }
}

// Where both can, shifting is multiplying.
TEST_P(Shift, EqualsMultiplication) {
  ShiftProblem problem({"both", square(20, 9, 24, 3, 1, 1), 2}, 4, 7, 1);
  std::vector<int8_t> weights(problem.weights.begin(), problem.weights.end());
  const ShiftConvSpec& s = problem.spec;
  const Int8ConvSpec same{s.shape, weights, s.bias, s.scales, s.x_zero, s.y_zero, s.y_min, s.y_max};
  ThreadPool pool(1);
  std::vector<uint8_t> multiplied(problem.expected_size());
  Int8Conv(same).run(problem.x.data(), problem.images, multiplied.data(), pool);
  EXPECT_EQ(problem.run(), multiplied);
}

BITSMITH_EACH_TARGET(Shift);

TEST(ShiftSums, MustFit32Bits) {
  ShiftProblem problem({"long", square(1000, 1, 1, 1, 1, 0), 1}, 5, 1, 1);
  problem.spec.x_zero = 0;
  problem.spec.bias = {};
  std::ranges::fill(problem.weights, 1 << 13);  // 255 * 1000 * 2^13 < 2^31 < 255 * 1000 * 2^14
  EXPECT_EQ(problem.run(), problem.expected());
  std::ranges::fill(problem.weights, 1 << 14);
  EXPECT_THROW(problem.run(), Error);
  // What counts is the sum, not its parts.
  problem.spec.x_zero = 128;
  EXPECT_EQ(problem.run(), problem.expected());
}

TEST(ShiftTerms, AreAsFewAsThereCanBe) {
  const std::vector<int32_t> weights = {0, 1, -64, 3, 7, -6, 255, 0x5555, 1 << 30, INT32_MIN};
  std::vector<int64_t> terms;
  for (const int32_t w : weights) terms.push_back(ShiftConv::count_terms({&w, 1}));
  EXPECT_EQ(terms, (std::vector<int64_t>{0, 1, 1, 2, 2, 2, 2, 8, 1, 1}));
}

}  // namespace
}  // namespace bitsmith
