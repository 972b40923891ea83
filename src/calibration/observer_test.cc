// Observers on known distributions, and what holds for every one.
#include "calibration/observer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "calibration/histogram.h"
#include "core/random.h"

namespace bitsmith {
namespace {

std::vector<float> normal_values(int count, uint64_t seed, bool rectified = false) {
  Random random(seed);
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) {
    v = static_cast<float>(random.normal());
    if (rectified) v = std::max(v, 0.0F);
  }
  return x;
}

std::unique_ptr<Observer> make(const std::string& id, const nlohmann::json& options = {}) {
  const ObserverMethod& method = Registry<ObserverMethod>::instance().get(id);
  const nlohmann::json given = options.is_null() ? nlohmann::json::object() : options;
  return method.make(Options(method.info().options, given, id));
}

ValueRange range_of(const std::string& id, const std::vector<float>& x, int bits = 8,
                    const nlohmann::json& options = {}) {
  const auto observer = make(id, options);
  observer->add(x);
  return observer->range(bits);
}

double squared_error(const ValueRange& range, int bits, const std::vector<float>& x) {
  const AffineCode code(range, bits);
  double sum = 0;
  for (const float v : x) sum += std::pow(v - code.rounded(v), 2);
  return sum / static_cast<double>(x.size());
}

TEST(AffineCode, HasACodeForZeroAndCoversTheRange) {
  for (const int bits : {2, 4, 8}) {
    for (const ValueRange range : {ValueRange{-1, 3}, {0, 6}, {-2.5, 0}, {0, 0}, {-1e-20, 1e20}}) {
      const AffineCode code(range, bits);
      EXPECT_GT(code.scale, 0);
      EXPECT_EQ(code.rounded(0), 0);
      EXPECT_GE(code.zero, 0);
      EXPECT_LE(code.zero, code.high);
      const double step = code.scale;
      EXPECT_NEAR(code.rounded(range.low), range.low, step);
      EXPECT_NEAR(code.rounded(range.high), range.high, step);
    }
  }
}

TEST(Histogram, CountsDoNotDependOnOrderOrBatches) {
  std::vector<float> x = normal_values(5000, 1);
  for (size_t i = 0; i < x.size(); i += 7) x[i] *= static_cast<float>(std::exp2(i % 40) * 1e-6);
  x[17] = 0;
  Histogram all;
  all.add(x);
  std::vector<float> sorted = x;
  std::ranges::sort(sorted, [](float a, float b) { return std::abs(a) < std::abs(b); });
  Histogram pieces;
  for (size_t i = 0; i < sorted.size(); i += 100) {
    pieces.add(std::span(sorted).subspan(i, 100));
  }
  EXPECT_EQ(pieces.bins(), all.bins());
  EXPECT_EQ(pieces.width(), all.width());
  EXPECT_EQ(pieces.extremes(), all.extremes());
  EXPECT_EQ(all.count(), 5000);
  EXPECT_EQ(all.zeros(), 1);
  int64_t counted = all.zeros();
  for (const int64_t n : all.bins()) counted += n;
  EXPECT_EQ(counted, 5000);
  const double largest = std::max(-all.extremes().low, all.extremes().high);
  EXPECT_LE(all.width(), largest / 2048);
  // Each value lies in its bin.
  Histogram one;
  one.add(std::vector<float>{-3.3F, 100});
  const auto bin = std::ranges::find(one.bins(), 1) - one.bins().begin();
  EXPECT_NEAR(one.center(bin), -3.3, one.width() / 2);
}

TEST(Observers, HoldZeroAndNothingBeyondTheExtremes) {
  for (const ObserverMethod* method : Registry<ObserverMethod>::instance().all()) {
    const std::string& id = method->info().id;
    SCOPED_TRACE(id);
    EXPECT_FALSE(method->info().source.empty());
    for (const bool rectified : {false, true}) {
      const std::vector<float> x = normal_values(20000, 2, rectified);
      const auto [low, high] = std::ranges::minmax(x);
      for (const int bits : {2, 4, 8}) {
        const ValueRange range = range_of(id, x, bits);
        EXPECT_LE(range.low, 0);
        EXPECT_GT(range.high, 0);
        EXPECT_GE(range.low, std::min(low, 0.0F));
        EXPECT_LE(range.high, high);
        EXPECT_EQ(range, range_of(id, x, bits));
      }
    }
    for (const float value : {0.0F, 2.0F, -3.0F}) {
      const ValueRange range = range_of(id, std::vector<float>(100, value));
      EXPECT_EQ(range, (ValueRange{std::min(value, 0.0F), std::max(value, 0.0F)}));
    }
    EXPECT_EQ(make(id)->range(8), ValueRange{});  // nothing seen
  }
}

TEST(Observers, MinMaxAndMovingAverage) {
  EXPECT_EQ(range_of("min_max", {-1, 0, 5}), (ValueRange{-1, 5}));
  const auto average = make("moving_average", {{"momentum", 0.75}});
  average->add(std::vector<float>{-4, 8});
  average->add(std::vector<float>{-8, 0});
  EXPECT_EQ(average->range(8), (ValueRange{-5, 6}));
}

TEST(Observers, PercentileLeavesTheShareOutside) {
  const std::vector<float> x = normal_values(100000, 3);
  const ValueRange range = range_of("percentile", x, 8, {{"percentile", 99.0}});
  EXPECT_NEAR(range.high, 2.326, 0.05);  // of a normal distribution
  EXPECT_NEAR(range.low, -2.326, 0.05);
  const auto above = std::ranges::count_if(x, [&](float v) { return v > range.high; });
  EXPECT_LE(above, 1000);
  EXPECT_GT(above, 900);
}

// At least as good as all others in what it minimises, but for the width of a bin, and with few
// bits at the known optimum of a normal distribution.
TEST(Observers, MseHasTheLeastSquaredError) {
  const std::vector<float> x = normal_values(50000, 4);
  for (const int bits : {2, 3, 4, 8}) {
    const double own = squared_error(range_of("mse", x, bits), bits, x);
    for (const char* other : {"min_max", "percentile", "entropy"}) {
      EXPECT_LE(own, squared_error(range_of(other, x, bits), bits, x) * 1.01) << other << bits;
    }
  }
  // Uniform quantization of N(0, 1) with 16 levels: 0.01154 (Max 1960); ours has a level at 0.
  EXPECT_LT(squared_error(range_of("mse", x, 4), 4, x), 0.0125);
  std::vector<float> outlier = x;
  outlier[0] = 1000;
  EXPECT_LT(range_of("mse", outlier, 8).high, 1000.1);
}

TEST(Observers, EntropyDropsOutliers) {
  std::vector<float> x = normal_values(100000, 5, true);
  for (size_t i = 0; i < 20; ++i) x[i] = 20;
  const ValueRange range = range_of("entropy", x, 8);
  EXPECT_LT(range.high, 8);
  EXPECT_GT(range.high, 2);
  EXPECT_EQ(range.low, 0);
}

}  // namespace
}  // namespace bitsmith
