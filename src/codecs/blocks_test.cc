// Codecs that code several columns as one: vector codebooks, the lattice E8, pyramids, trellises.
#include "codecs/blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "codecs/codec_testing.h"
#include "codecs/e8.h"
#include "codecs/pvq.h"
#include "codecs/trellis.h"
#include "codecs/trellis_viterbi.h"
#include "codecs/vector_search.h"
#include "codecs/vector_training.h"

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

// The distortion on fewer weights, for codecs whose encoders are slow.
double small_gaussian_error(const Scheme& scheme, const MatrixShape& shape, int search_steps = 0) {
  ThreadPool pool;
  const auto weights = normal_weights(static_cast<size_t>(shape.rows * shape.cols), 12);
  const auto encoded = encode(scheme, shape, weights, pool, FitOptions{search_steps, nullptr});
  return relative_mse(weights, encoded.values);
}

TEST(BlockCodecs, BitsPerWeightAreExact) {
  const nlohmann::json none = nlohmann::json::object();
  EXPECT_DOUBLE_EQ(bpw(Scheme("vector", none)), 2 + 256 * 4 * 16 / (4096.0 * 4096.0));
  EXPECT_DOUBLE_EQ(bpw(Scheme("vector", {{"dim", 8}, {"stages", 2}, {"bits", 12}})),
                   3 + 2 * 4096 * 8 * 16 / (4096.0 * 4096.0));
  EXPECT_DOUBLE_EQ(bpw(Scheme("vector", {{"scaled", true}, {"group", 64}})),
                   2.25 + 256 * 4 * 16 / (4096.0 * 4096.0));
  EXPECT_DOUBLE_EQ(bpw(Scheme("vector", {{"scope", "position"}, {"dim", 8}, {"bits", 4}})),
                   0.5 + 16 * 16 / 4096.0);
  EXPECT_DOUBLE_EQ(bpw(Scheme("e8", none)), 2 + 16 / 4096.0);
  EXPECT_DOUBLE_EQ(bpw(Scheme("trellis", {{"bits", 3}})), 3 + 16 / 4096.0);
  EXPECT_DOUBLE_EQ(bpw(Scheme("trellis", {{"bits", 2}, {"group", 256}})), 2 + 16 / 256.0);
  EXPECT_DOUBLE_EQ(bpw(Scheme("trellis", {{"bits", 1}, {"quarters", 2}})), 1.5 + 16 / 4096.0);
  EXPECT_DOUBLE_EQ(bpw(Scheme("trellis", {{"bits", 3}, {"quarters", 1}})), 3.25 + 16 / 4096.0);
}

// Vectors along rows: better than the codebook for numbers of the same rate, better still in more
// dimensions, and not below the bound 2^-2R.
TEST(Vector, GainsFromDimension) {
  const double one = gaussian_error(Scheme("codebook", {{"bits", 2}, {"scope", "tensor"}}));
  const double two = gaussian_error(Scheme("vector", {{"dim", 2}, {"bits", 4}}));
  const double four = gaussian_error(Scheme("vector", {{"dim", 4}, {"bits", 8}}));
  EXPECT_LT(two, 0.96 * one);
  EXPECT_LT(four, 0.96 * two);
  EXPECT_GT(four, 0.0625);
}

// At a high rate, dim 2: G 2π ((k+2)/k)^((k+2)/2) 2^-2R with k = 2 and G = 5 / (36 √3), the second
// moment of the hexagon (Zador 1982, Gersho 1979).
TEST(Vector, ReachesZadorsFormulaInThePlane) {
  const double expected = 5 / (36 * std::sqrt(3.0)) * 2 * M_PI * 4 * std::pow(2.0, -8);
  const double error = gaussian_error(Scheme("vector", {{"dim", 2}, {"bits", 8}}));
  EXPECT_NEAR(error / expected, 1.0, 0.10) << error;
}

TEST(Vector, MoreStagesHelp) {
  const MatrixShape shape{64, 512};
  double previous = 1;
  for (int stages = 1; stages <= 4; ++stages) {
    const double error =
        small_gaussian_error(Scheme("vector", {{"bits", 5}, {"stages", stages}}), shape);
    EXPECT_LT(error, 0.75 * previous) << stages;
    previous = error;
  }
}

TEST(Vector, ImportantColumnsGetTheEntries) {
  ThreadPool pool(1);
  const MatrixShape shape{64, 256};
  const auto weights = normal_weights(64 * 256, 3);
  std::vector<float> importance(256);
  for (size_t c = 0; c < 256; ++c) importance[c] = c % 4 == 0 ? 10.0F : 0.1F;
  const auto important_error = [&](const FitOptions& fit) {
    const auto encoded = encode(Scheme("vector", {{"bits", 6}}), shape, weights, pool, fit);
    double error = 0;
    for (size_t i = 0; i < weights.size(); i += 4) {
      error += std::pow(static_cast<double>(weights[i] - encoded.values[i]), 2);
    }
    return error;
  };
  EXPECT_LT(important_error({20, importance.data()}), 0.5 * important_error({}));
}

TEST(VectorTable, ScoresAreDistances) {
  const auto rows = normal_weights(37 * 3, 4);
  const VectorTable table(3, 37, rows.data());
  const std::vector<float> x = {0.3F, -1.0F, 0.5F};
  const std::vector<float> weights = {1.0F, 2.0F, 0.5F};
  std::vector<float> norms(37);
  std::vector<float> scores(37);
  std::vector<float> wx(3);
  for (size_t j = 0; j < 3; ++j) wx[j] = weights[j] * x[j];
  table.norms(weights.data(), norms.data());
  table.scores(wx.data(), norms.data(), scores.data());
  int64_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t k = 0; k < 37; ++k) {
    double distance = 0;
    double constant = 0;
    for (size_t j = 0; j < 3; ++j) {
      const auto weight = static_cast<double>(weights[j]);
      distance +=
          weight * std::pow(static_cast<double>(x[j]) - static_cast<double>(rows[k * 3 + j]), 2);
      constant += weight * std::pow(static_cast<double>(x[j]), 2);
    }
    EXPECT_NEAR(static_cast<double>(scores[k]), distance - constant, 1e-5);
    if (distance < least) {
      least = distance;
      best = static_cast<int64_t>(k);
    }
  }
  EXPECT_EQ(smallest_score(scores), best);
}

TEST(VectorTraining, SameForAnyThreads) {
  const VectorSample sample{.dim = 3, .x = normal_weights(3 * 2000, 6), .weights = {}};
  ThreadPool one(1);
  const auto expected = cluster_vectors(sample, 20, 5, "test", one);
  ThreadPool seven(7);
  EXPECT_EQ(cluster_vectors(sample, 20, 5, "test", seven), expected);
}

TEST(E8, PointsAreInTheShiftedLattice) {
  const E8Codebook& codebook = E8Codebook::instance();
  std::set<std::vector<float>> points;
  for (int code = 0; code < 1 << 16; ++code) {
    std::vector<float> point(8);
    codebook.decode(static_cast<uint16_t>(code), point.data());
    points.insert(point);
    const float shift = (code & 1) != 0 ? 0.25F : -0.25F;
    float sum = 0;
    for (const float x : point) {
      const float half = x - shift;
      ASSERT_EQ(std::fabs(half - std::floor(half)), 0.5F);
      sum += half;
    }
    ASSERT_EQ(std::fmod(sum, 2.0F), 0.0F);
  }
  EXPECT_EQ(points.size(), 65536U);
}

TEST(E8, NearestEqualsExhaustiveSearch) {
  const E8Codebook& codebook = E8Codebook::instance();
  std::vector<std::array<float, 8>> points(1 << 16);
  for (size_t code = 0; code < points.size(); ++code) {
    codebook.decode(static_cast<uint16_t>(code), points[code].data());
  }
  Random random(3);
  for (int trial = 0; trial < 20; ++trial) {
    std::array<float, 8> x;
    std::array<float, 8> weights;
    for (float& number : x) number = static_cast<float>(random.normal()) * 1.2F;
    for (float& number : weights) number = static_cast<float>(random.uniform()) + 0.1F;
    const auto distance = [&](const std::array<float, 8>& point) {
      double sum = 0;
      for (size_t i = 0; i < 8; ++i) {
        sum += static_cast<double>(weights[i]) *
               std::pow(static_cast<double>(x[i]) - static_cast<double>(point[i]), 2);
      }
      return sum;
    };
    double least = std::numeric_limits<double>::infinity();
    for (const auto& point : points) least = std::min(least, distance(point));
    EXPECT_NEAR(distance(points[codebook.nearest(x.data(), weights.data())]), least, 1e-5 * least);
  }
}

// QuIP#, figure 3, and an independent build with other patterns of norm 12: 0.0913 ± 0.0004.
TEST(E8, MatchesPublishedGaussianDistortion) {
  const double error = small_gaussian_error(Scheme("e8", nlohmann::json::object()), {64, 2048}, 0);
  EXPECT_LE(error, 0.092);
  EXPECT_GE(error, 0.089);
}

TEST(Pyramid, NumbersItsPoints) {
  EXPECT_EQ(Pyramid(8, 1).points(), 16U);
  EXPECT_EQ(Pyramid(3, 2).points(), 18U);  // Fischer 1986, Table I
  EXPECT_EQ(Pyramid(4, 3).points(), 88U);
  for (const auto& [dim, pulses] : {std::pair{2, 5}, {3, 4}, {5, 3}, {8, 2}}) {
    const Pyramid pyramid(dim, pulses);
    std::set<std::vector<int>> points;
    for (uint64_t index = 0; index < pyramid.points(); ++index) {
      std::vector<int> point(static_cast<size_t>(dim));
      pyramid.point_of(index, point.data());
      int sum = 0;
      for (const int y : point) sum += std::abs(y);
      ASSERT_EQ(sum, pulses);
      ASSERT_EQ(pyramid.index_of(point.data()), index);
      points.insert(point);
    }
    EXPECT_EQ(points.size(), pyramid.points());
  }
}

TEST(Pyramid, NearestComesCloseToExhaustiveSearch) {
  const Pyramid pyramid(5, 6);
  Random random(8);
  std::vector<int> point(5);
  for (int trial = 0; trial < 50; ++trial) {
    std::array<float, 5> x;
    for (float& number : x) number = static_cast<float>(random.normal());
    const auto cosine = [&] {
      double xy = 0;
      double yy = 0;
      for (size_t i = 0; i < 5; ++i) {
        xy += static_cast<double>(x[i]) * point[i];
        yy += static_cast<double>(point[i]) * point[i];
      }
      return xy / std::sqrt(yy);
    };
    double most = -1;
    for (uint64_t index = 0; index < pyramid.points(); ++index) {
      pyramid.point_of(index, point.data());
      most = std::max(most, cosine());
    }
    pyramid.nearest(x.data(), point.data());
    EXPECT_GE(cosine(), 0.999 * most);
  }
}

// More pulses at a fine length: towards the bound; better than the uniform quantizer of its rate.
TEST(Pvq, DistortionFallsWithPulses) {
  const MatrixShape shape{64, 512};
  double previous = 1;
  for (const int pulses : {2, 4, 8, 16}) {
    const Scheme scheme("pvq", {{"pulses", pulses}, {"gain_bits", 6}});
    const double error = small_gaussian_error(scheme, shape);
    EXPECT_LT(error, previous) << pulses;
    EXPECT_GT(error, std::pow(2.0, -2 * bpw(scheme)));
    previous = error;
  }
  EXPECT_LT(previous, 0.03);
}

// The best closed path of all, by trying every string of bits.
TEST(TrellisSearch, ComesCloseToExhaustiveSearch) {
  const std::vector<float>& values = trellis_values("3inst");
  TrellisSearch search({.quarters = 4}, values);
  constexpr int kLength = 16;
  Random random(5);
  double found = 0;
  double best = 0;
  for (int trial = 0; trial < 10; ++trial) {
    std::vector<float> x(kLength);
    for (float& number : x) number = static_cast<float>(random.normal());
    const auto error_of = [&](const std::vector<uint16_t>& states) {
      double error = 0;
      for (size_t t = 0; t < kLength; ++t) {
        error += std::pow(static_cast<double>(x[t]) - static_cast<double>(values[states[t]]), 2);
      }
      return error;
    };
    double least = std::numeric_limits<double>::infinity();
    for (uint32_t bits = 0; bits < 1u << kLength; ++bits) {
      std::vector<uint16_t> states(kLength);
      // A string of 16 bits is the register itself, turned.
      for (uint32_t t = 0; t < kLength; ++t) {
        states[t] = static_cast<uint16_t>(bits << (t + 1) | bits >> (kLength - 1 - t));
      }
      least = std::min(least, error_of(states));
    }
    std::vector<uint16_t> states(kLength);
    search.closed_path(x.data(), nullptr, kLength, states.data());
    for (size_t t = 0; t < kLength; ++t) {
      const size_t next = (t + 1) % kLength;
      ASSERT_EQ(states[next] >> 1, states[t] & 0x7fff);  // closed
    }
    EXPECT_GE(error_of(states), least * (1 - 1e-6));
    found += error_of(states);
    best += least;
  }
  EXPECT_LT(found, 3 * best);  // a string as short as the register is the hardest case
}

// QTIP, table 1, and an independent implementation of the same codes.
TEST(Trellis, MatchesPublishedGaussianDistortion) {
  const MatrixShape shape{16, 2048};
  const auto error = [&](int bits, const char* code) {
    return small_gaussian_error(Scheme("trellis", {{"bits", bits}, {"code", code}}), shape);
  };
  EXPECT_LE(error(2, "3inst"), 0.0697);
  EXPECT_LE(error(2, "mul1"), 0.0697);
  EXPECT_LE(error(3, "mul1"), 0.0180);
  EXPECT_LE(error(4, "mul1"), 0.0047);
  EXPECT_LE(error(1, "mcg"), 0.272);
  EXPECT_LE(error(1, "lookup"), 0.272);
  EXPECT_LE(error(2, "lookup"), 0.069);
  EXPECT_LE(error(3, "lookup"), 0.0180);
  EXPECT_LE(error(4, "lookup"), 0.0047);
  EXPECT_GE(error(2, "3inst"), 0.0625);
}

// A rate between two whole ones: the distortion of a Gaussian falls by a factor for each bit, so
// between two rates it is their geometric mean; steps of unequal bits cost a little.
TEST(Trellis, FractionalRatesLieOnTheLine) {
  const MatrixShape shape{16, 2048};
  const auto error = [&](int bits, int quarters) {
    return small_gaussian_error(
        Scheme("trellis", {{"bits", bits}, {"quarters", quarters}, {"code", "lookup"}}), shape);
  };
  double below = error(1, 0);
  for (const int bits : {1, 2, 3}) {
    const double above = error(bits + 1, 0);
    const double between = error(bits, 2);
    EXPECT_NEAR(between / std::sqrt(below * above), 1.0, 0.03) << bits + 0.5;
    EXPECT_GE(between, std::pow(2.0, -2 * (bits + 0.5)));
    below = above;
  }
  EXPECT_LT(error(1, 3), error(1, 1));
}

TEST(Trellis, RefusesMoreThanFourBits) {
  EXPECT_THROW(bpw(Scheme("trellis", {{"bits", 4}, {"quarters", 1}})), Error);
}

// Columns of no importance are free, so the others are better coded.
TEST(Trellis, ImportantColumnsComeFirst) {
  ThreadPool pool;
  const MatrixShape shape{4, 256};
  const auto weights = normal_weights(4 * 256, 3);
  std::vector<float> importance(256);
  for (size_t c = 0; c < 256; ++c) importance[c] = c % 2 == 0 ? 1.0F : 0.01F;
  const auto important_error = [&](const FitOptions& fit) {
    const auto encoded =
        encode(Scheme("trellis", nlohmann::json::object()), shape, weights, pool, fit);
    double error = 0;
    for (size_t i = 0; i < weights.size(); i += 2) {
      error += std::pow(static_cast<double>(weights[i] - encoded.values[i]), 2);
    }
    return error;
  };
  EXPECT_LT(important_error({5, importance.data()}), 0.7 * important_error({}));
}

}  // namespace
}  // namespace bitsmith
