// Codec `roots`: values drawn by hand, distortion against theory, exact sizes, sums of two.
#include <gtest/gtest.h>

#include <cmath>

#include "codecs/codec_testing.h"
#include "core/error.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::gaussian_error;

Scheme roots(int64_t group) { return Scheme("roots", {{"group", group}}); }

TEST(Roots, AreTheFourOfEachPair) {
  ThreadPool pool(1);
  // 2, 3 i, -2, -3 i, and a last column alone.
  const std::vector<float> w = {2, 0, 0, 3, -2, 0, 0, -3, 2};
  const auto encoded = encode(roots(0), {1, 9}, w, pool);
  EXPECT_EQ(encoded.values, w);
  // Codes 0 1 2 3 0 of 2 bits, one for each pair: quad 0 in bytes 0 to 3, quad 1 in bits 2 and 3.
  EXPECT_EQ(std::to_integer<int>(encoded.bytes[0]), 0);
  EXPECT_EQ(std::to_integer<int>(encoded.bytes[1]), 1);
  EXPECT_EQ(std::to_integer<int>(encoded.bytes[2]), 2);
  EXPECT_EQ(std::to_integer<int>(encoded.bytes[3]), 3);
}

// Of a pair the larger part is kept as its mean, E max(|x|, |y|) = 2 / √π, of a power of 2: as much
// as signs keep, whose four pairs are these, turned by 45 degrees.
TEST(Roots, LoseAsMuchAsSigns) {
  EXPECT_NEAR(gaussian_error(roots(0)), 1 - 2 / M_PI, 0.003);
  EXPECT_LT(gaussian_error(roots(128)), 1 - 2 / M_PI);
  // Roots of what is left, under scales of their own.
  const Scheme two("sum", {{"inner", R"([{"codec":"roots","options":{"group":0}},)"
                                     R"({"codec":"roots","options":{"group":0}}])"}});
  EXPECT_LT(gaussian_error(two), 0.16);
}

TEST(Roots, BitsPerWeightAreExact) {
  const auto bytes = [](const Scheme& scheme) {
    return static_cast<double>(scheme.codec->encoded_bytes({4096, 4096}, scheme.options));
  };
  EXPECT_DOUBLE_EQ(8 * bytes(roots(128)) / (4096.0 * 4096.0), 1 + 32.0 / 128);
  EXPECT_THROW(bytes(roots(3)), Error);
}

}  // namespace
}  // namespace bitsmith
