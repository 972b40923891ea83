#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"

namespace bitsmith {
namespace {

constexpr float kLogits[] = {0.5f, 2.0f, -1.0f, 2.0f, 1.0f, -30.0f};

// Draws of each token.
std::vector<double> draw(const SamplerOptions& options, int count) {
  Sampler sampler(options);
  std::vector<double> counts(std::size(kLogits), 0);
  for (int i = 0; i < count; ++i) ++counts[static_cast<size_t>(sampler.sample(kLogits))];
  return counts;
}

// Each count is within 5 standard deviations of its expectation.
void expect_distribution(const std::vector<double>& counts, const std::vector<double>& weights) {
  double total = 0;
  double n = 0;
  for (const double w : weights) total += w;
  for (const double c : counts) n += c;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double p = weights[i] / total;
    EXPECT_NEAR(counts[i], n * p, 5 * std::sqrt(n * p * (1 - p))) << "token " << i;
  }
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  Sampler sampler({.temperature = 0});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(sampler.sample(kLogits), 1);
  Sampler one({.temperature = 1.0, .top_p = 1.0, .top_k = 1});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(one.sample(kLogits), 1);
}

TEST(Sampler, FollowsTheSoftmaxAtEachTemperature) {
  for (const double temperature : {0.5, 1.0, 2.0}) {
    std::vector<double> weights;
    for (const float x : kLogits) weights.push_back(std::exp(static_cast<double>(x) / temperature));
    expect_distribution(draw({.temperature = temperature}, 20000), weights);
    // Filters that remove nothing change nothing.
    expect_distribution(draw({.temperature = temperature, .top_p = 1.0, .top_k = 100}, 20000),
                        weights);
  }
}

TEST(Sampler, TopKAndTopPKeepTheLikeliest) {
  const double e2 = std::exp(2.0);
  const double e1 = std::exp(1.0);
  expect_distribution(draw({.temperature = 1, .top_p = 1, .top_k = 3}, 20000),
                      {0, e2, 0, e2, e1, 0});
  // The two likeliest have 0.78 of the probability: 0.7 keeps them, 0.8 the third as well.
  expect_distribution(draw({.temperature = 1, .top_p = 0.7}, 20000), {0, e2, 0, e2, 0, 0});
  expect_distribution(draw({.temperature = 1, .top_p = 0.8}, 20000), {0, e2, 0, e2, e1, 0});
  expect_distribution(draw({.temperature = 1, .top_p = 0.0}, 100), {0, 1, 0, 0, 0, 0});
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const double temperature : {0.0, 1.0}) {
    Sampler sampler({.temperature = temperature});
    const auto refuses = [&](const std::vector<float>& logits) {
      try {
        sampler.sample(logits);
      } catch (const Error& error) {
        return error.code() == ErrorCode::kCorrupt;
      }
      return false;
    };
    EXPECT_TRUE(refuses({nan, 1, 2}));
    EXPECT_TRUE(refuses({1, 2, nan}));
    EXPECT_TRUE(refuses({nan, nan}));
    EXPECT_TRUE(refuses({1, infinity}));
    EXPECT_TRUE(refuses({-infinity, -infinity}));
    // A token that is ruled out.
    EXPECT_EQ(sampler.sample(std::vector<float>{-infinity, -1000}), 1);
  }
}

TEST(Sampler, TheSeedDecides) {
  const auto text = [](uint64_t seed) {
    Sampler sampler({.temperature = 1, .top_p = 1, .top_k = 0, .seed = seed});
    std::vector<TokenId> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sampler.sample(kLogits));
    return tokens;
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

}  // namespace
}  // namespace bitsmith
