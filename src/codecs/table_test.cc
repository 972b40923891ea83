// Codecs whose groups have a table of levels: codebooks, ternary, binary, planes.
#include "codecs/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "codecs/codec_testing.h"
#include "codecs/lloyd_max.h"
#include "codecs/ternary.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::gaussian_error;
using testing::normal_weights;

double bpw(const Scheme& scheme) {
  return 8.0 * static_cast<double>(scheme.codec->encoded_bytes({4096, 4096}, scheme.options)) /
         (4096.0 * 4096.0);
}

double level_error(const std::vector<float>& values, const std::vector<float>& levels,
                   const float* weights = nullptr) {
  double error = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    float least = std::numeric_limits<float>::infinity();
    for (const float level : levels) least = std::min(least, std::fabs(values[i] - level));
    const double weight = weights != nullptr ? static_cast<double>(weights[i]) : 1.0;
    error += weight * static_cast<double>(least) * static_cast<double>(least);
  }
  return error;
}

// Max 1960, Table I; Lloyd's and this program's own values agree to the digits given.
TEST(LloydMax, GaussianDistortion) {
  const auto values = normal_weights(1 << 20, 5);
  double power = 0;
  for (const float x : values) power += static_cast<double>(x) * static_cast<double>(x);
  const std::vector<std::pair<int, double>> expected = {
      {2, 0.3634}, {4, 0.1175}, {8, 0.03455}, {16, 0.009497}, {32, 0.002499}};
  for (const auto& [count, distortion] : expected) {
    const double error = level_error(values, lloyd_max_levels(values, nullptr, count)) / power;
    EXPECT_NEAR(error / distortion, 1.0, 0.005) << count << " levels: " << error;
  }
}

// The best of all partitions into intervals, tried one by one.
TEST(LloydMax, EqualsExhaustiveSearch) {
  Random random(7);
  for (int trial = 0; trial < 20; ++trial) {
    auto values = normal_weights(12, 100 + static_cast<uint64_t>(trial));
    std::ranges::sort(values);
    std::vector<float> weights(values.size());
    for (float& w : weights) w = static_cast<float>(random.uniform());
    double least = std::numeric_limits<double>::infinity();
    for (size_t a = 1; a < values.size(); ++a) {
      for (size_t b = a + 1; b < values.size(); ++b) {
        std::vector<float> levels;
        for (const auto& [begin, end] : {std::pair{size_t{0}, a}, {a, b}, {b, values.size()}}) {
          double sum = 0;
          double weight = 0;
          for (size_t i = begin; i < end; ++i) {
            sum += static_cast<double>(weights[i]) * static_cast<double>(values[i]);
            weight += static_cast<double>(weights[i]);
          }
          levels.push_back(static_cast<float>(sum / weight));
        }
        least = std::min(least, level_error(values, levels, weights.data()));
      }
    }
    const auto levels = lloyd_max_levels(values, weights.data(), 3);
    EXPECT_NEAR(level_error(values, levels, weights.data()) / least, 1.0, 1e-4);
  }
}

TEST(LloydMax, FewDifferentNumbersAreTheLevels) {
  EXPECT_EQ(lloyd_max_levels(std::vector<float>{3, 1, 3, 1, 2}, nullptr, 4),
            (std::vector<float>{1, 2, 3, 3}));
  EXPECT_EQ(lloyd_max_levels({}, nullptr, 2), (std::vector<float>{0, 0}));
}

TEST(Codebook, IsLloydMax) {
  struct Row {
    int bits;
    double distortion;
    double in_row;  // of the best codebook for 2048 numbers: by dynamic programming, 60 rows
  };
  for (const auto& [bits, distortion, in_row] :
       {Row{1, 0.3634, 0.3620}, Row{2, 0.1175, 0.1163}, Row{3, 0.03455, 0.03365},
        Row{4, 0.009497, 0.008755}}) {
    const double error = gaussian_error(Scheme("codebook", {{"bits", bits}, {"scope", "tensor"}}));
    EXPECT_NEAR(error / distortion, 1.0, 0.005) << bits << " bits: " << error;
    const double row = gaussian_error(Scheme("codebook", {{"bits", bits}, {"scope", "row"}}));
    EXPECT_NEAR(row / in_row, 1.0, 0.02) << bits << " bits: " << row;
  }
}

TEST(Codebook, ErrorFallsWithBits) {
  for (const char* scope : {"tensor", "tensor_scaled", "row", "group"}) {
    double previous = 1;
    for (int bits = 1; bits <= 8; ++bits) {
      const double error = gaussian_error(Scheme("codebook", {{"bits", bits}, {"scope", scope}}));
      if (std::string(scope) == "group" && bits == 8) {
        EXPECT_EQ(error, previous);  // 128 entries were enough for the 128 numbers of a group
      } else {
        EXPECT_LT(error, previous) << scope << bits;
      }
      previous = error;
    }
  }
}

// A codebook for normalized groups is at least as good as that of NormalFloat.
TEST(Codebook, WithScalesBeatsNormalFloat) {
  EXPECT_LT(gaussian_error(Scheme("codebook", {{"scope", "tensor_scaled"}, {"group", 64}})),
            gaussian_error(Scheme("nf4", {{"group", 64}})));
}

TEST(Codebook, ImportantColumnsGetTheLevels) {
  ThreadPool pool(1);
  const MatrixShape shape{16, 256};
  const auto weights = normal_weights(16 * 256, 3);
  std::vector<float> importance(256);
  for (size_t c = 0; c < 256; ++c) importance[c] = c % 8 == 0 ? 100.0F : 0.01F;
  const auto important_error = [&](const std::vector<float>& values) {
    double error = 0;
    for (size_t i = 0; i < weights.size(); i += 8) {
      error += std::pow(static_cast<double>(weights[i]) - static_cast<double>(values[i]), 2);
    }
    return error;
  };
  for (const char* scope : {"tensor", "tensor_scaled", "row", "group"}) {
    const Scheme scheme("codebook", {{"bits", 3}, {"scope", scope}});
    const auto plain = encode(scheme, shape, weights, pool);
    const auto weighted = encode(scheme, shape, weights, pool, FitOptions{20, importance.data()});
    EXPECT_LT(important_error(weighted.values), 0.99 * important_error(plain.values)) << scope;
  }
}

TEST(Codebook, EntriesCanBeSumsOfPowers) {
  ThreadPool pool(1);
  const auto weights = normal_weights(16 * 256, 3);
  for (const int words : {1, 2}) {
    for (const char* scope : {"row", "tensor"}) {
      const Scheme scheme("codebook", {{"bits", 3}, {"scope", scope}, {"words", words}});
      for (const float w : encode(scheme, {16, 256}, weights, pool).values) {
        int count = 0;
        // Powers of the shortest signed sum: nonadjacent form, from the lowest digit up.
        auto whole = static_cast<int64_t>(std::ldexp(std::fabs(w), 24));
        for (; whole != 0; whole /= 2) {
          if (whole % 2 == 0) continue;
          ++count;
          whole -= whole % 4 == 1 ? 1 : -1;
        }
        EXPECT_LE(count, words) << w;
      }
    }
  }
  const double free = gaussian_error(Scheme("codebook", {{"bits", 3}}));
  const double two = gaussian_error(Scheme("codebook", {{"bits", 3}, {"words", 2}}));
  const double one = gaussian_error(Scheme("codebook", {{"bits", 3}, {"words", 1}}));
  EXPECT_LT(free, two);
  EXPECT_LT(two, 1.25 * free);
  EXPECT_LT(two, one);
}

// Two thresholds ± t, levels ± E[x | x > t]: the best is 0.1902 (Max 1960, 3 levels).
TEST(Ternary, IsTheThreeLevelQuantizer) {
  EXPECT_NEAR(gaussian_error(Scheme("ternary", {{"group", 0}})) / 0.1902, 1.0, 0.005);
  EXPECT_LT(gaussian_error(Scheme("ternary", {{"group", 64}, {"symmetric", false}})),
            gaussian_error(Scheme("ternary", {{"group", 64}})));
}

TEST(Ternary, NoThresholdIsBetter) {
  const auto w = normal_weights(40, 9);
  const TernaryLevels best = best_ternary(w, nullptr, true);
  const double error = level_error(w, {-best.negative, 0, best.positive});
  for (float scale = 0; scale < 4; scale += 0.01F) {
    EXPECT_GE(level_error(w, {-scale, 0, scale}), error * (1 - 1e-6));
  }
}

TEST(Binary, IsTheTwoLevelQuantizer) {
  EXPECT_NEAR(gaussian_error(Scheme("binary", {{"group", 0}})), 1 - 2 / M_PI, 0.002);
  EXPECT_LT(gaussian_error(Scheme("binary", {{"group", 64}, {"mean", true}})),
            gaussian_error(Scheme("binary", {{"group", 64}})));
}

// Two sign planes make the four symmetric levels ± a ± b, which contain Lloyd-Max's. Two trit
// planes make nine levels, of which the best free ones would have 0.0279 (Max 1960, 9 levels).
TEST(Planes, MatchTheory) {
  EXPECT_NEAR(gaussian_error(Scheme("planes", {{"planes", 1}, {"group", 0}})), 1 - 2 / M_PI, 0.002);
  EXPECT_NEAR(gaussian_error(Scheme("planes", {{"planes", 2}, {"group", 0}})) / 0.1175, 1.0, 0.01);
  const double three = gaussian_error(Scheme("planes", {{"planes", 3}, {"group", 0}}));
  EXPECT_GT(three, 0.03455 * 0.98);
  EXPECT_LT(three, 0.03744 * 1.01);  // the uniform quantizer is a special case
  const double trits =
      gaussian_error(Scheme("planes", {{"planes", 2}, {"digit", "trit"}, {"group", 0}}));
  EXPECT_GT(trits, 0.0279 * 0.98);
  EXPECT_LT(trits, 0.033);
}

TEST(Planes, ScalesCanBePowers) {
  const double free = gaussian_error(Scheme("planes", {{"planes", 3}}));
  const double powers = gaussian_error(Scheme("planes", {{"planes", 3}, {"powers", true}}));
  EXPECT_GT(powers, free);
  EXPECT_LT(powers, 2 * free);
}

TEST(Planes, ErrorFallsWithPlanes) {
  for (const char* digit : {"sign", "bit", "trit"}) {
    double previous = 1;
    for (int planes = 1; planes <= 4; ++planes) {
      const double error =
          gaussian_error(Scheme("planes", {{"planes", planes}, {"digit", digit}, {"group", 64}}));
      EXPECT_LT(error, previous) << digit << planes;
      previous = error;
    }
  }
}

TEST(TableCodecs, BitsPerWeightAreExact) {
  EXPECT_DOUBLE_EQ(bpw(Scheme("codebook", {{"bits", 3}, {"scope", "row"}})), 3 + 8 * 16 / 4096.0);
  EXPECT_DOUBLE_EQ(bpw(Scheme("codebook", {{"bits", 4}, {"scope", "tensor"}})),
                   4 + 64 * 8 / (4096.0 * 4096.0));  // 16 entries in 64 bytes
  EXPECT_DOUBLE_EQ(bpw(Scheme("binary", {{"group", 128}})), 1.125);
  EXPECT_DOUBLE_EQ(bpw(Scheme("planes", {{"planes", 3}, {"group", 128}})), 3 + 3 * 0.125);
  // 1024 quads in 205 vectors: 1.6 bits and the rounding of a row.
  EXPECT_DOUBLE_EQ(bpw(Scheme("ternary", {{"group", 128}})), 205 * 512 / 65536.0 + 0.125);
}

}  // namespace
}  // namespace bitsmith
