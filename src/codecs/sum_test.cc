// Codec `sum`: what each term leaves to the next, readings of fewer terms, composition.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "codecs/codec_testing.h"
#include "codecs/inner_scheme.h"
#include "codecs/nested.h"
#include "core/error.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::gaussian_error;
using testing::normal_weights;
using testing::relative_mse;

Scheme sum(const std::string& inner) { return Scheme("sum", {{"inner", inner}}); }

std::string list(const std::vector<std::string>& terms) {
  return fmt::format("[{}]", fmt::join(terms, ","));
}

const std::string kSigns = R"({"codec":"binary","options":{"group":0}})";
const std::string kInt2 = R"({"codec":"int","options":{"bits":2,"group":64,"symmetric":true}})";
const std::string kInt4 = R"({"codec":"int","options":{"bits":4,"group":64,"symmetric":true}})";

// Signs of a normal source leave |x| - m, m = E|x|, with the sign of x; second signs, whose scale
// is E||x| - m|, leave 1 - m² - (E||x| - m|)² of the power.
TEST(Sum, LosesWhatPlanesOfSignsLose) {
  const double mean = std::sqrt(2 / M_PI);
  // E||x| - m| = 2 ∫ over y > m of (y - m) 2 φ(y), since m is the mean of |x|.
  const double density = std::exp(-mean * mean / 2) / std::sqrt(2 * M_PI);
  const double deviation = 4 * density - 2 * mean * std::erfc(mean / std::sqrt(2.0));
  EXPECT_NEAR(gaussian_error(sum(list({kSigns}))), 1 - mean * mean, 0.002);
  EXPECT_NEAR(gaussian_error(sum(list({kSigns, kSigns}))), 1 - mean * mean - deviation * deviation,
              0.002);
}

TEST(Sum, EachTermLeavesLess) {
  std::vector<std::string> terms;
  double before = 1;
  for (int i = 0; i < 4; ++i) {
    terms.push_back(kInt2);
    const double error = gaussian_error(sum(list(terms)), 10);
    EXPECT_LT(error, 0.4 * before);
    before = error;
  }
}

// The first terms of a tensor are the tensor of the first terms, for every kind of term.
TEST(Sum, ReadsFewerTerms) {
  ThreadPool pool(2);
  const MatrixShape shape{19, 130};
  const auto w = normal_weights(19 * 130, 5);
  const std::string signs = R"({"codec":"binary","options":{"group":32}})";
  const std::string shared = R"({"codec":"codebook","options":{"bits":2,"scope":"tensor"}})";
  const std::string groups = R"({"codec":"sparse","options":{"run":8,"of":0,"density":0.25}})";
  const std::string lattice = R"({"codec":"e8","options":{"group":64}})";
  for (const std::vector<std::string>& terms :
       {std::vector<std::string>{kInt4, signs, shared, kInt2},
        {kInt4, groups},
        {shared, lattice, signs}}) {
    const Scheme scheme = sum(list(terms));
    const auto encoded = encode(scheme, shape, w, pool);
    EXPECT_EQ(testing::decode(scheme, shape, encoded.bytes, 0, 19), encoded.values);
    const auto& nested = dynamic_cast<const NestedCodec&>(*scheme.codec);
    const std::vector<Scheme> readings = nested.readings(scheme.options);
    ASSERT_EQ(readings.size(), terms.size() - 1);
    double before = relative_mse(w, encoded.values);
    for (size_t i = 0; i < readings.size(); ++i) {
      const Scheme& reading = readings[i];
      std::vector<std::byte> bytes(reading.codec->encoded_bytes(shape, reading.options));
      nested.read_as(shape, scheme.options, encoded.bytes, reading, bytes);
      const auto values = testing::decode(reading, shape, bytes, 0, 19);
      const double error = relative_mse(w, values);
      EXPECT_GT(error, before) << reading.label();
      before = error;
      const std::vector<std::string> first(terms.begin(), terms.end() - 1 - static_cast<int>(i));
      EXPECT_EQ(values, encode(sum(list(first)), shape, w, pool).values) << reading.label();
    }
  }
}

TEST(Sum, RefusesWhatCannotBeAdded) {
  for (const char* inner :
       {"", "[]", R"({"codec":"int"})", R"([{"codec":"sum"}])", R"([{"codec":"sparse"},5])"}) {
    const Scheme scheme = sum(inner);
    EXPECT_THROW(scheme.codec->encoded_bytes({4, 4}, scheme.options), Error) << inner;
  }
  // Blocks of 8 columns and of 3.
  const Scheme scheme = sum(R"([{"codec":"e8"},{"codec":"vector","options":{"dim":3,"bits":2}}])");
  EXPECT_THROW(scheme.codec->encoder({16, 48}, scheme.options), Error);
}

}  // namespace
}  // namespace bitsmith
