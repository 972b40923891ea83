// Hadamard rotations against dense matrices in float64.
#include "runtime/kernels/hadamard.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "runtime/kernels/targets_test.h"

namespace bitsmith {
namespace {

class Hadamard : public EachTarget {};

std::vector<float> random_signs(Random& random, int64_t n) {
  std::vector<float> signs(static_cast<size_t>(n));
  for (float& s : signs) s = random.below(2) == 0 ? 1.0F : -1.0F;
  return signs;
}

// Entry (i, j) of S = M ⊗ H as graph/operators_matrix.h defines it.
double entry(int64_t n, int64_t i, int64_t j) {
  const int64_t power = n & -n;
  const int64_t odd = n / power;
  const int bits = std::popcount(static_cast<uint64_t>((i % power) & (j % power)));
  const double t = 2 * std::numbers::pi * static_cast<double>((i / power) * (j / power)) /
                   static_cast<double>(odd);
  return (bits % 2 == 0 ? 1.0 : -1.0) * (std::cos(t) + std::sin(t)) /
         std::sqrt(static_cast<double>(n));
}

TEST_P(Hadamard, IsTheProductWithItsMatrix) {
  Random random(1);
  for (const int64_t n : {1, 2, 3, 4, 8, 12, 16, 21, 32, 64, 88, 96, 128, 288}) {
    SCOPED_TRACE(n);
    const int64_t runs = 3;
    const std::vector<float> signs = random_signs(random, n);
    const HadamardRotation rotation(signs);
    const std::vector<float> x = normal_floats(random, runs * n);
    std::vector<float> y(x.size());
    rotation.apply(x.data(), runs, y.data());
    // Sums of n terms of size 1 / sqrt(n), in float32.
    const double tolerance = 0x1p-23 * (std::sqrt(static_cast<double>(n)) + 4) * 4;
    for (int64_t run = 0; run < runs; ++run) {
      for (int64_t j = 0; j < n; ++j) {
        double expected = 0;
        for (int64_t i = 0; i < n; ++i) {
          expected += static_cast<double>(x[static_cast<size_t>(run * n + i)]) *
                      static_cast<double>(signs[static_cast<size_t>(i)]) * entry(n, i, j);
        }
        ASSERT_NEAR(y[static_cast<size_t>(run * n + j)], expected, tolerance) << j;
      }
    }
    std::vector<float> back(x.size());
    rotation.apply_inverse(y.data(), runs, back.data());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(back[i], x[i], 2 * tolerance);
    rotation.apply_inverse(y.data(), runs, y.data());
    EXPECT_EQ(y, back);
  }
}

TEST_P(Hadamard, WithoutAnOddFactorEveryTargetGivesTheSameBits) {
  Random random(2);
  for (const int64_t n : {1, 2, 4, 8, 16, 512}) {
    std::vector<float> x = normal_floats(random, 2 * n);
    std::vector<float> y = x;
    walsh_hadamard(x.data(), 2, n);
    for (int64_t run = 0; run < 2; ++run) {  // stride by stride, as the kernel adds
      float* v = y.data() + run * n;
      for (int64_t stride = 1; stride < n; stride *= 2) {
        for (int64_t i = 0; i < n; ++i) {
          if (i / stride % 2 != 0) continue;
          const float a = v[i];
          const float b = v[i + stride];
          v[i] = a + b;
          v[i + stride] = a - b;
        }
      }
    }
    EXPECT_EQ(x, y) << n;
  }
}

BITSMITH_EACH_TARGET(Hadamard);

TEST(HadamardRotation, RefusesWhatIsNoSign) {
  const auto refused = [](std::vector<float> signs) -> std::string {
    try {
      HadamardRotation{signs};
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(refused({}).find("needs signs"), std::string::npos);
  EXPECT_NE(refused({1, -1, 0.5F}).find("number 2 is 0.5"), std::string::npos);
}

}  // namespace
}  // namespace bitsmith
