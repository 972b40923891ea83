// Codec `subsetq`: the set that is found, its levels, and what it loses.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "codecs/codec_testing.h"
#include "runtime/network/integer_layer.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::gaussian_error;
using testing::normal_weights;

const std::vector<double> kUniverse = {0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 17, 18, 20, 24, 32};

Scheme subsetq(int bits, int64_t group = 0) {
  return Scheme("subsetq", {{"bits", bits}, {"group", group}});
}

uint16_t set_of(const std::vector<std::byte>& bytes) {
  uint16_t set;
  std::memcpy(&set, bytes.data(), sizeof(set));
  return set;
}

// All sums of the words, with none twice.
TEST(Subsetq, TheUniverseIsAllSumsOfTwoWords) {
  std::map<double, int> sums;
  for (const double a : {1.0, 0.5, 0.125, 0.0}) {
    for (const double b : {1.0, 0.25, 0.0625, 0.0}) ++sums[16 * (a + b)];
  }
  std::vector<double> numbers;
  for (const auto& [number, times] : sums) numbers.push_back(number);
  EXPECT_EQ(numbers, kUniverse);
}

// Squared error of a row whose largest magnitude lies at `range` of the largest level.
double error_of(const std::vector<float>& w, const std::vector<double>& levels, double range) {
  double largest = 0;
  for (const float x : w) largest = std::max(largest, static_cast<double>(std::fabs(x)));
  const double unit = largest * range / levels.back();
  double error = 0;
  for (const float x : w) {
    double least = std::numeric_limits<double>::infinity();
    for (const double level : levels) {
      least = std::min(least, std::abs(std::fabs(static_cast<double>(x)) - level * unit));
    }
    error += least * least;
  }
  return error;
}

// Every set, by brute force over the weights themselves: the one that was found is as good as the
// best up to the cells of the search's histogram.
TEST(Subsetq, FindsTheBestSet) {
  ThreadPool pool(2);
  for (const int bits : {2, 3, 4}) {
    const auto weights = normal_weights(300, 10 + static_cast<uint64_t>(bits));
    const auto bytes = encode(subsetq(bits), {1, 300}, weights, pool).bytes;
    double least = std::numeric_limits<double>::infinity();
    double found = -1;
    for (uint32_t set = 0; set < 1U << 15; ++set) {
      if (std::popcount(set) != 1 << (bits - 1)) continue;
      std::vector<double> levels;
      for (size_t i = 0; i < kUniverse.size(); ++i) {
        if ((set >> i & 1) != 0) levels.push_back(kUniverse[i]);
      }
      const double error = error_of(weights, levels, 1);
      least = std::min(least, error);
      if (set == set_of(bytes)) found = error;
    }
    ASSERT_GE(found, 0) << bits;
    // A number in the wrong cell, of 2048, is nearer than that to being as near to another level.
    EXPECT_LT(found, least * 1.01) << bits;
  }
}

// Levels are whole numbers of at most 6 bits times the row's scale: integers can run them.
TEST(Subsetq, RowsAreIntegers) {
  ThreadPool pool(1);
  const auto weights = normal_weights(8 * 90, 3);
  for (const int bits : {2, 3, 4}) {
    const auto values = encode(subsetq(bits), {8, 90}, weights, pool, {.search_steps = 20}).values;
    const auto layer = make_integer_layer(values, 8, {}, 0.01, 0);
    ASSERT_TRUE(layer.has_value() && layer->is_int8) << bits;
    for (const int32_t w : layer->weights) {
      EXPECT_LE(std::abs(w), 32);
    }
  }
}

// No symmetric quantizer of as many levels is better than the best of as many and one more (the two
// zeros are one level) on a Gaussian source: Max 1960, Table I. Close to it, and better than
// powers.
TEST(Subsetq, GaussianDistortion) {
  const std::map<int, double> bound = {{2, 0.1175}, {3, 0.03455}, {4, 0.009497}};
  double previous = 1;
  for (const auto& [bits, distortion] : bound) {
    const double error = gaussian_error(subsetq(bits), 20);
    EXPECT_GT(error, distortion * 0.9) << bits;
    EXPECT_LT(error, distortion * 1.45) << bits;
    EXPECT_LT(error, previous);
    EXPECT_LT(error, gaussian_error(Scheme("pot", {{"bits", bits}, {"group", 0}}), 20)) << bits;
    previous = error;
  }
}

TEST(Subsetq, CountsWhatItStores) {
  // 4096 codes, 2 bytes of set in 64, a binary16 for each row.
  const Scheme scheme = subsetq(4);
  EXPECT_EQ(scheme.codec->encoded_bytes({64, 64}, scheme.options), 64 + 64 * 64 / 2 + 64 * 2);
  const ProductCost cost = scheme.codec->product_cost(scheme.options);
  EXPECT_EQ(cost.multiplications, 0);
  EXPECT_EQ(cost.shifts, 2);
  EXPECT_EQ(cost.additions, 1);
}

// A damaged set decodes to something, whatever it is.
TEST(Subsetq, AnySetDecodes) {
  ThreadPool pool(1);
  const auto weights = normal_weights(40, 3);
  const Scheme scheme = subsetq(3);
  auto bytes = encode(scheme, {1, 40}, weights, pool).bytes;
  for (const uint16_t set : {0, 1, 0x7fff, 0xffff, 0x4001}) {
    std::memcpy(bytes.data(), &set, sizeof(set));
    std::vector<float> out(40);
    scheme.codec->decode({1, 40}, scheme.options, bytes, 0, 1, out.data());
    for (const float x : out) EXPECT_TRUE(std::isfinite(x));
  }
}

}  // namespace
}  // namespace bitsmith
