// Second moments against a slow twin in float64.
#include "calibration/second_moment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"

namespace bitsmith {
namespace {

std::vector<float> tokens_of(int64_t tokens, int64_t size, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(static_cast<size_t>(tokens * size));
  for (int64_t t = 0; t < tokens; ++t) {
    const double shared = random.normal();
    for (int64_t i = 0; i < size; ++i) {
      x[static_cast<size_t>(t * size + i)] =
          static_cast<float>(random.normal() + shared * static_cast<double>(i % 3));
    }
  }
  return x;
}

TEST(SecondMoment, KnowsHowChannelsAreSpread) {
  ThreadPool pool(2);
  for (const int64_t size : {1, 3, 257}) {
    SecondMoment moment(size);
    EXPECT_EQ(moment.spread().most, std::vector<float>(static_cast<size_t>(size), 0.0F));
    std::vector<float> all = tokens_of(300, size, 1);
    for (size_t i = 0; i < all.size(); i += static_cast<size_t>(size)) all[i] += 20;  // above 0
    moment.add(std::span(all).first(static_cast<size_t>(100 * size)), pool);
    moment.add(std::span(all).subspan(static_cast<size_t>(100 * size)), pool);
    const ChannelSpread spread = moment.spread();
    for (int64_t c = 0; c < size; ++c) {
      const auto at = static_cast<size_t>(c);
      float least = all[at];
      float most = all[at];
      double sum = 0;
      for (size_t i = at; i < all.size(); i += static_cast<size_t>(size)) {
        least = std::min(least, all[i]);
        most = std::max(most, all[i]);
        sum += static_cast<double>(all[i]);
      }
      EXPECT_EQ(spread.least[at], least);
      EXPECT_EQ(spread.most[at], most);
      EXPECT_NEAR(spread.mean[at], sum / 300, 1e-12 * std::abs(sum));
    }
  }
}

TEST(SecondMoment, TheDiagonalAloneIsTheSame) {
  ThreadPool pool(2);
  for (const int64_t size : {1, 257}) {
    SecondMoment all(size);
    SecondMoment diagonal(size, SecondMoment::Part::kDiagonal);
    for (const uint64_t seed : {1, 2}) {
      const std::vector<float> x = tokens_of(300, size, seed);
      all.add(x, pool);
      diagonal.add(x, pool);
    }
    EXPECT_EQ(diagonal.spread().mean, all.spread().mean);
    for (int64_t i = 0; i < size; ++i) {
      // Sums of 256 squares in float32 beside float64.
      EXPECT_NEAR(diagonal.mean_diagonal(i), all.mean_diagonal(i), 0x1p-17 * all.mean_diagonal(i));
    }
  }
}

// Every size has full, partial and single tiles; the tolerance is that of a float32 sum of 256
// terms.
TEST(SecondMoment, EqualsSlowTwin) {
  ThreadPool pool(2);
  for (const int64_t size : {1, 3, 255, 256, 257, 300}) {
    const std::vector<float> first = tokens_of(300, size, 1);
    const std::vector<float> second = tokens_of(1, size, 2);
    SecondMoment moment(size);
    moment.add(first, pool);
    moment.add({}, pool);
    moment.add(second, pool);
    EXPECT_EQ(moment.tokens(), 301);
    std::vector<float> all = first;
    all.insert(all.end(), second.begin(), second.end());
    const std::vector<double> mean = moment.mean();
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double sum = 0;
        double magnitude = 0;
        for (int64_t t = 0; t < 301; ++t) {
          const double product = static_cast<double>(all[static_cast<size_t>(t * size + i)]) *
                                 static_cast<double>(all[static_cast<size_t>(t * size + j)]);
          sum += product;
          magnitude += std::fabs(product);
        }
        const double value = mean[static_cast<size_t>(i * size + j)];
        const double tolerance = 256 * 0x1.0p-24 * magnitude / 301;
        ASSERT_NEAR(value, sum / 301, tolerance) << size << ": " << i << ", " << j;
        ASSERT_EQ(value, mean[static_cast<size_t>(j * size + i)]);
      }
      ASSERT_EQ(moment.mean_diagonal(i), mean[static_cast<size_t>(i * size + i)]);
    }
  }
}

TEST(SecondMoment, SameBitsForAnyThreads) {
  const std::vector<float> x = tokens_of(700, 600, 3);
  std::vector<double> expected;
  for (const int threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    for (int repetition = 0; repetition < 3; ++repetition) {
      SecondMoment moment(600);
      moment.add(x, pool);
      if (expected.empty()) expected = moment.mean();
      EXPECT_EQ(moment.mean(), expected) << threads;
    }
  }
}

TEST(SecondMoment, IsZeroBeforeTheFirstToken) {
  const SecondMoment moment(3);
  EXPECT_EQ(moment.tokens(), 0);
  EXPECT_EQ(moment.mean(), std::vector<double>(9));
  EXPECT_EQ(moment.mean_diagonal(1), 0.0);
}

}  // namespace
}  // namespace bitsmith
