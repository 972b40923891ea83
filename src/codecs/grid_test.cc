// Codecs of fixed grids: nearest levels, scale rules, exact sizes, distortion on a Gaussian source.
#include "codecs/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "codecs/codec_testing.h"
#include "core/error.h"
#include "tensor/minifloat.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::gaussian_error;
using testing::normal_weights;
using testing::relative_mse;

double bpw(const Scheme& scheme) {
  return 8.0 * static_cast<double>(scheme.codec->encoded_bytes({4096, 4096}, scheme.options)) /
         (4096.0 * 4096.0);
}

TEST(Grid, FindsTheNearestLevel) {
  const Grid grid({0.3F, -2.0F, 0.0F, 1.0F, -0.0F, 0.25F});
  EXPECT_EQ(grid.lowest(), -2.0F);
  EXPECT_EQ(grid.highest(), 1.0F);
  EXPECT_FALSE(grid.symmetric());
  for (float x = -3; x < 2; x += 0.01F) {
    float best = 1e9F;
    for (const float level : grid.levels()) best = std::min(best, std::fabs(level - x));
    EXPECT_FLOAT_EQ(std::fabs(grid.level(grid.nearest(x)) - x), best) << x;
  }
  EXPECT_EQ(grid.level(grid.nearest(-1e30F)), -2.0F);
  EXPECT_EQ(grid.level(grid.nearest(1e30F)), 1.0F);
  EXPECT_NE(grid.nearest(0.0F), 4);  // the second of two equal levels is not used
  grid.nearest(std::nanf(""));
}

// As MiniFloat::encode, ties included.
TEST(Grid, RoundsLikeTheNumberFormat) {
  std::vector<float> levels;
  for (int code = 0; code < 16; ++code) levels.push_back(kE2M1.decode(static_cast<uint8_t>(code)));
  const Grid grid(levels);
  for (float x = -7; x <= 7; x += 0.125F) {
    EXPECT_EQ(grid.level(grid.nearest(x)), kE2M1.decode(kE2M1.encode(x))) << x;
  }
}

TEST(Scales, PatternsAreInOrderAndFound) {
  for (const ScaleFormat format :
       {ScaleFormat::kF16, ScaleFormat::kE8m0, ScaleFormat::kE4m3, ScaleFormat::kE5m3}) {
    const float unit = has_tensor_scale(format) ? tensor_scale_for(format, 3.7F) : 1.0F;
    for (uint32_t pattern = 1; pattern <= largest_scale(format); ++pattern) {
      const float scale = decode_scale(format, pattern, unit);
      const float below = decode_scale(format, pattern - 1, unit);
      ASSERT_LT(below, scale);
      ASSERT_EQ(nearest_scale(format, scale, unit), pattern);
      ASSERT_EQ(floor_scale(format, scale, unit), pattern);
      ASSERT_EQ(floor_scale(format, std::nextafter(scale, 0.0F), unit), pattern - 1);
    }
    EXPECT_EQ(nearest_scale(format, 3e38F, unit), largest_scale(format));
  }
  EXPECT_EQ(tensor_scale_for(ScaleFormat::kE4m3, 448), 1);
  EXPECT_EQ(tensor_scale_for(ScaleFormat::kE4m3, 448.01F), 2);
  EXPECT_EQ(tensor_scale_for(ScaleFormat::kE4m3, 3.7F), 0x1p-6F);
  EXPECT_EQ(tensor_scale_for(ScaleFormat::kE4m3, 0), 0);
  for (const float x : {0.0F, 1e-40F, 0.1F, 3e38F}) {
    EXPECT_EQ(decode_scale(ScaleFormat::kF32, nearest_scale(ScaleFormat::kF32, x, 1), 1), x);
  }
}

// The four rules on one block whose extreme is 7: scale 1 cuts to 6, scale 2 does not.
TEST(Microscaling, ScaleRules) {
  ThreadPool pool(1);
  const std::vector<float> weights = {7.0F, 0.5F, -0.5F, 1.0F};
  const auto values = [&](const char* rule) {
    return encode(Scheme("mxfp", {{"rule", rule}}), {1, 4}, weights, pool).values;
  };
  EXPECT_EQ(values("floor"), (std::vector<float>{6, 0.5, -0.5, 1}));
  EXPECT_EQ(values("ceil"), (std::vector<float>{8, 0, 0, 1}));  // 0.25 is a tie: to even
  EXPECT_EQ(values("even"), (std::vector<float>{8, 0, 0, 1}));
  EXPECT_EQ(values("best"), (std::vector<float>{6, 0.5, -0.5, 1}));
  const std::vector<float> below = {6.9F, 0.5F, -0.5F, 1.0F};
  EXPECT_EQ(encode(Scheme("mxfp", {{"rule", "even"}}), {1, 4}, below, pool).values[0], 6.0F);
}

TEST(GridCodecs, BitsPerWeightAreExact) {
  const nlohmann::json none = nlohmann::json::object();
  EXPECT_DOUBLE_EQ(bpw(Scheme("nf4", none)), 4.25);
  EXPECT_DOUBLE_EQ(bpw(Scheme("mxfp", none)), 4.25);
  EXPECT_DOUBLE_EQ(bpw(Scheme("mxfp", {{"element", "e3m2"}})), 6.25);
  EXPECT_DOUBLE_EQ(bpw(Scheme("mxint", none)), 8.25);
  EXPECT_DOUBLE_EQ(bpw(Scheme("bfp", none)), 4.5);
  EXPECT_DOUBLE_EQ(bpw(Scheme("nvfp4", none)), 4.5 + 8.0 * 64 / (4096.0 * 4096.0));
  EXPECT_DOUBLE_EQ(bpw(Scheme("minifloat", {{"exponent", 4}, {"mantissa", 3}, {"group", 0}})),
                   8.0 + 16.0 / 4096);
}

// Values measured by an independent implementation on the same source; the finite sample and
// binary16 scales leave 2 %.
TEST(GridCodecs, MatchPublishedGaussianDistortion) {
  const auto near = [](const Scheme& scheme, double expected) {
    const double error = gaussian_error(scheme);
    EXPECT_NEAR(error / expected, 1.0, 0.02) << scheme.label() << ": " << error;
  };
  near(Scheme("mxfp", {{"rule", "floor"}}), 0.01321);
  near(Scheme("mxfp", {{"rule", "ceil"}}), 0.01330);
  near(Scheme("mxfp", {{"rule", "even"}}), 0.01250);
  near(Scheme("mxfp", {{"rule", "best"}}), 0.01244);
  near(Scheme("nvfp4", {{"rule", "amax"}}), 0.00904);
  near(Scheme("nvfp4", {{"rule", "four_over_six"}}), 0.00755);
  near(Scheme("nvfp4", {{"rule", "best"}}), 0.00659);
}

// Fixed point with a step Δ: the error of a fine uniform quantizer is Δ²/12, Δ = 2^(e - 6) for
// MXINT8, and the exponent e of a block of 32 is floor(log2 of its extreme): exact in expectation.
TEST(GridCodecs, FineFixedPointHasUniformError) {
  const auto weights = normal_weights(256 * 2048, 11);
  double expected = 0;
  for (size_t block = 0; block < weights.size(); block += 32) {
    float extreme = 0;
    for (size_t i = block; i < block + 32; ++i) extreme = std::max(extreme, std::fabs(weights[i]));
    expected += 32 * std::pow(4.0, floor_log2(extreme) - 6) / 12;
  }
  expected /= static_cast<double>(weights.size());
  EXPECT_NEAR(gaussian_error(Scheme("mxint", nlohmann::json::object())) / expected, 1.0, 0.03);
  EXPECT_NEAR(gaussian_error(Scheme("bfp", {{"bits", 8}, {"group", 32}})) / expected, 1.0, 0.03);
}

// The relative error of a float with m mantissa bits, rounded: ∫ over a binade, for any density
// that is smooth there 2^(-2m) / 12 * E[4^floor(log2 |w|)]; of E4M3 on a row, whose subnormal
// numbers are rare.
TEST(GridCodecs, FineFloatsHaveTheErrorOfTheirMantissa) {
  const auto weights = normal_weights(256 * 2048, 11);
  double expected = 0;
  for (const float w : weights) expected += std::pow(4.0, floor_log2(w) - 3) / 12;
  expected /= static_cast<double>(weights.size());
  // The scale of a row moves binades against the weights, which averages to a factor within 6 %.
  const Scheme scheme("minifloat", {{"exponent", 4}, {"mantissa", 3}, {"group", 0}});
  EXPECT_NEAR(gaussian_error(scheme) / expected, 1.0, 0.10);
}

// E (x - q)² of a normal x under the best scale of a set of levels, by integrals of the density:
// for cell [a, b] with the level l,  ∫x φ = φ(a) - φ(b),  ∫φ = Φ(b) - Φ(a).
double best_gaussian_distortion(std::vector<double> levels) {
  std::ranges::sort(levels);
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  const auto density = [](double x) { return std::exp(-x * x / 2) / std::sqrt(2 * M_PI); };
  const auto below = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  double best = 1;
  for (double scale = 0.05; scale < 8; scale *= 1.005) {
    double error = 1;
    double a = -40;
    for (size_t i = 0; i < levels.size(); ++i) {
      const double l = scale * levels[i];
      const double b = i + 1 < levels.size() ? scale * (levels[i] + levels[i + 1]) / 2 : 40;
      error += -2 * l * (density(a) - density(b)) + l * l * (below(b) - below(a));
      a = b;
    }
    best = std::min(best, error);
  }
  return best;
}

std::vector<double> with_negatives(const std::vector<double>& magnitudes) {
  std::vector<double> levels = magnitudes;
  for (const double m : magnitudes) levels.push_back(-m);
  return levels;
}

// One scale for a long row, searched: the best scale of the grid, which is written down here a
// second time, from the papers.
TEST(GridCodecs, MatchTheoryOfTheirLevels) {
  const auto near = [](const Scheme& scheme, const std::vector<double>& levels) {
    const double expected = best_gaussian_distortion(levels);
    // Rows so long that a scale cannot be fitted to the few numbers that lie outside.
    const double error = gaussian_error(scheme, 60, 8);
    EXPECT_NEAR(error / expected, 1.0, 0.02) << scheme.label() << ": " << error;
  };
  EXPECT_NEAR(best_gaussian_distortion({-1.5, -0.5, 0.5, 1.5}), 0.1188, 0.0001);  // Max 1960
  near(Scheme("pot", {{"bits", 2}, {"group", 0}}), {-1, 0, 1});
  near(Scheme("pot", {{"bits", 3}, {"group", 0}}), with_negatives({0, 0.25, 0.5, 1}));
  near(Scheme("pot", {{"bits", 4}, {"group", 0}}),
       with_negatives({0, 1. / 64, 1. / 32, 1. / 16, 1. / 8, 1. / 4, 1. / 2, 1}));
  near(Scheme("pot", {{"bits", 2}, {"group", 0}, {"zero", false}}), {-1, -0.5, 0.5, 1});
  near(Scheme("pot", {{"bits", 3}, {"group", 0}, {"zero", false}}),
       with_negatives({1, 0.5, 0.25, 0.125}));
  // Li, Dong, Wang 2020: terms {0, 1, 1/4, 1/16} + {0, 1/2} (3 bits), {0, 1, 1/4, 1/16} +
  // {0, 1/2, 1/8, 1/32} (4 bits), besides the sign.
  near(Scheme("apot", {{"bits", 4}, {"group", 0}}),
       with_negatives({0, 1, 0.25, 0.0625, 0.5, 1.5, 0.75, 0.5625}));
  std::vector<double> five;
  for (const double p : {0.0, 1.0, 0.25, 0.0625}) {
    for (const double q : {0.0, 0.5, 0.125, 0.03125}) five.push_back(p + q);
  }
  near(Scheme("apot", {{"bits", 5}, {"group", 0}}), with_negatives(five));
  // One bit per term is the uniform grid: Σ 2^-i.
  near(Scheme("apot", {{"bits", 4}, {"terms", 3}, {"group", 0}}),
       with_negatives({0, 1, 2, 3, 4, 5, 6, 7}));
  // Two bits of the first word, one of the second: 2^-j and 2^-j + 2^-(j+1); the lowest is 0.
  near(Scheme("log2", {{"bits", 4}, {"group", 0}}),
       with_negatives({1, 1.5, 0.5, 0.75, 0.25, 0.375, 0, 0.1875}));
  const double root = std::sqrt(0.5);
  near(Scheme("log2", {{"bits", 4}, {"group", 0}, {"second", 0}, {"fraction", 2}}),
       with_negatives({1, root, 0.5, 0.5 * root, 0.25, 0.25 * root, 0.125, 0}));
  near(Scheme("minifloat", {{"group", 0}}), with_negatives({0, 0.5, 1, 1.5, 2, 3, 4, 6}));
  near(Scheme("minifloat", {{"group", 0}, {"exponent", 1}, {"mantissa", 2}}),
       with_negatives({0, 1, 2, 3, 4, 5, 6, 7}));
}

// Finds the best exponent, a little above 1, without being told: no exponent does better.
TEST(GridCodecs, PowerFindsItsExponent) {
  for (const int bits : {3, 4}) {
    const double found = gaussian_error(Scheme("power", {{"bits", bits}, {"group", 0}}), 20);
    double least = 1;
    for (double exponent = 0.5; exponent <= 2.5; exponent += 0.0625) {
      std::vector<double> magnitudes;
      for (int k = 0; k < 1 << (bits - 1); ++k) magnitudes.push_back(std::pow(k, exponent));
      least = std::min(least, best_gaussian_distortion(with_negatives(magnitudes)));
    }
    EXPECT_LT(found / least, 1.03) << bits;
    EXPECT_GT(found / least, 0.98) << bits;
    EXPECT_LT(gaussian_error(Scheme("power", {{"bits", bits}})),
              gaussian_error(Scheme("mxint", {{"bits", bits}})));
  }
}

// Each group chooses among four grids that all contain the plain one's levels.
TEST(GridCodecs, BitmodBeatsThePlainFloats) {
  EXPECT_LT(
      gaussian_error(Scheme("bitmod", {{"bits", 3}}), 20),
      gaussian_error(Scheme("minifloat", {{"exponent", 2}, {"mantissa", 0}, {"group", 128}}), 20));
  EXPECT_LT(
      gaussian_error(Scheme("bitmod", {{"bits", 4}}), 20),
      gaussian_error(Scheme("minifloat", {{"exponent", 2}, {"mantissa", 1}, {"group", 128}}), 20));
}

TEST(GridCodecs, ErrorFallsWithBits) {
  for (const char* id : {"mxint", "bfp"}) {
    double previous = 1e9;
    for (int bits = 2; bits <= 8; ++bits) {
      const double error = gaussian_error(Scheme(id, {{"bits", bits}}));
      EXPECT_LT(error, previous) << id << bits;
      previous = error;
    }
  }
  double previous = 1e9;
  for (int mantissa = 0; mantissa <= 4; ++mantissa) {
    const double error =
        gaussian_error(Scheme("minifloat", {{"exponent", 3}, {"mantissa", mantissa}}));
    EXPECT_LT(error, previous) << mantissa;
    previous = error;
  }
}

// Whatever the type of the scale; 8-bit scales cost little.
TEST(GridCodecs, SearchIsNeverWorseThanPlain) {
  ThreadPool pool(1);
  for (const char* scale : {"f16", "e8m0", "e4m3", "e5m3"}) {
    for (const char* id : {"nf4", "minifloat"}) {
      const Scheme scheme(id, {{"scale", scale}, {"group", 32}});
      for (const auto& [name, weights] : testing::hard_weights(40 * 96)) {
        const double plain = relative_mse(weights, encode(scheme, {40, 96}, weights, pool).values);
        const auto searched = encode(scheme, {40, 96}, weights, pool, FitOptions{20, nullptr});
        EXPECT_TRUE(relative_mse(weights, searched.values) <= plain * (1 + 1e-6) || plain != plain)
            << scheme.label() << " " << name;
      }
      EXPECT_LT(gaussian_error(scheme, 20), 1.25 * gaussian_error(Scheme(id, {{"group", 32}}), 20) +
                                                (scale == std::string("e8m0") ? 0.01 : 0.0));
    }
  }
}

TEST(GridCodecs, Refusals) {
  const Scheme scheme("minifloat", {{"exponent", 7}, {"mantissa", 7}});
  EXPECT_THROW(scheme.codec->encoded_bytes({1, 1}, scheme.options), Error);
  const Scheme empty("minifloat", {{"exponent", 1}, {"mantissa", 0}, {"reserved", "ieee"}});
  EXPECT_THROW(empty.codec->encoded_bytes({1, 1}, empty.options), Error);
}

}  // namespace
}  // namespace bitsmith
