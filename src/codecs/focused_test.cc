// Codec `focused`: its choice between clusters and zero, its distortion against exact integrals.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "codecs/codec_testing.h"
#include "codecs/gaussian_mixture.h"

namespace bitsmith {
namespace {

using testing::encode;

Scheme focused(int bits, double separation = 2.0) {
  return Scheme("focused", {{"bits", bits}, {"separation", separation}});
}

double gaussian(double x, double mean, double deviation) {
  const double d = (x - mean) / deviation;
  return std::exp(-d * d / 2) / (deviation * std::sqrt(2 * M_PI));
}

// The expected squared error of the nearest of `levels` for a density.
double expected_error(std::vector<double> levels, const std::function<double(double)>& density) {
  double error = 0;
  constexpr double kStep = 1e-3;
  for (double x = -8; x < 8; x += kStep) {
    double nearest = 1e9;
    for (const double level : levels) nearest = std::min(nearest, (x - level) * (x - level));
    error += nearest * density(x) * kStep;
  }
  return error;
}

// The error of 0 and powers of two times +-unit.
double powers_error(int largest, double unit, const std::function<double(double)>& density) {
  std::vector<double> levels = {0};
  for (int m = 1; m <= largest; ++m) {
    levels.push_back(unit * std::exp2(m - largest));
    levels.push_back(-levels.back());
  }
  return expected_error(levels, density);
}

// The least of all units.
double best_powers(int largest, const std::function<double(double)>& density) {
  double best = 1e9;
  for (double unit = 1; unit < 6; unit *= 1.01) {
    best = std::min(best, powers_error(largest, unit, density));
  }
  return best;
}

TEST(Focused, OnAGaussianItIsTheBestShiftQuantizer) {
  const auto density = [](double x) { return gaussian(x, 0, 1); };
  for (const int bits : {2, 3, 4, 5}) {
    const double best = best_powers((1 << (bits - 1)) - 1, density);
    const double got = testing::gaussian_error(focused(bits));
    EXPECT_GT(got, 0.985 * best) << bits;
    EXPECT_LT(got, 1.015 * best) << bits;
  }
}

std::vector<float> clusters(size_t count, double mean, double deviation, uint64_t seed) {
  Random random(seed);
  std::vector<float> result(count);
  for (float& x : result) {
    const double sign = random.below(2) == 0 ? -1 : 1;
    x = static_cast<float>(sign * (mean + deviation * random.normal()));
  }
  return result;
}

TEST(Focused, ThePowersGatherAroundTwoClusters) {
  ThreadPool pool(1);
  const MatrixShape shape{64, 1024};
  const auto weights = clusters(64 * 1024, 1.0, 0.15, 7);
  const auto density = [](double x) {
    return 0.5 * gaussian(x, -1, 0.15) + 0.5 * gaussian(x, 1, 0.15);
  };
  // Two copies of the best powers around a mean, which have one bit less.
  const auto one = [](double x) { return gaussian(x, 0, 1); };
  for (const int bits : {4, 5}) {
    const auto got = encode(focused(bits), shape, weights, pool);
    const auto plain = encode(focused(bits, 5.0), shape, weights, pool);
    const double power = 1 + 0.15 * 0.15;
    // Their unit is a power of two of the mean.
    double best = 1e9;
    for (const double unit : {0.125, 0.25, 0.5, 1.0}) {
      best = std::min(best, powers_error((1 << (bits - 2)) - 1, unit / 0.15, one));
    }
    best *= 0.15 * 0.15 / power;
    const double error = testing::relative_mse(weights, got.values);
    EXPECT_LT(error, 1.02 * best) << bits;
    EXPECT_GT(error, 0.95 * best) << bits;
    const double shift_error = testing::relative_mse(weights, plain.values);
    const double shift = best_powers((1 << (bits - 1)) - 1, density) / power;
    EXPECT_NEAR(shift_error, shift, 0.05 * shift) << bits;
    EXPECT_LT(error, 0.5 * shift_error) << bits;
  }
}

TEST(GaussianMixture, SeparationTellsOneClusterFromTwo) {
  // Means +-1, deviation s: 4 / (1 + s²).
  for (const double s : {0.1, 0.3}) {
    const auto mixture = fit_mixture(make_histogram(clusters(100000, 1.0, s, 8)));
    EXPECT_NEAR(mixture.mean[0], -1, 0.01);
    EXPECT_NEAR(mixture.mean[1], 1, 0.01);
    EXPECT_NEAR(mixture.deviation[0], s, 0.01);
    EXPECT_NEAR(mixture.separation(), 4 / (1 + s * s), 0.02);
  }
  EXPECT_LT(fit_mixture(make_histogram(testing::normal_weights(100000, 9))).separation(), 2.0);
}

TEST(GaussianMixture, PointsAndNothing) {
  EXPECT_EQ(fit_mixture(make_histogram({})).separation(), 0);
  const std::vector<float> one(10, 0.5F);
  EXPECT_EQ(fit_mixture(make_histogram(one)).separation(), 0);
  const std::vector<float> two = {-1, -1, 1, 1};
  EXPECT_NEAR(fit_mixture(make_histogram(two)).separation(), 4, 1e-6);
}

}  // namespace
}  // namespace bitsmith
