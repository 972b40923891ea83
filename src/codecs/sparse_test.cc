// Codec `sparse`: survivors, exact sizes, composition with other codecs, distortion.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "codecs/codec_testing.h"
#include "codecs/inner_scheme.h"
#include "core/error.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::gaussian_error;

Scheme sparse(double density, int of, const std::string& inner, int run = 1) {
  return Scheme("sparse", {{"density", density}, {"of", of}, {"run", run}, {"inner", inner}});
}

const std::string kFloat = R"({"codec":"f32","options":{}})";

TEST(Sparse, KeepsTheLargest) {
  ThreadPool pool(1);
  const std::vector<float> weights = {1, -3, 2, 0.5F, 0.1F, 0, 0.3F, -0.2F, 7, 6, 5, 4, 9};
  const auto encoded = encode(sparse(0.5, 4, kFloat), {1, 13}, weights, pool);
  EXPECT_EQ(encoded.values, (std::vector<float>{0, -3, 2, 0, 0, 0, 0.3F, -0.2F, 7, 6, 0, 0, 9}));
  const auto row = encode(sparse(4.0 / 13, 0, kFloat), {1, 13}, weights, pool);
  EXPECT_EQ(row.values, (std::vector<float>{0, 0, 0, 0, 0, 0, 0, 0, 7, 6, 5, 0, 9}));
}

TEST(Sparse, KeepsWholeRuns) {
  ThreadPool pool(1);
  // Runs of 2 columns in blocks of 2 runs; the last run has one column.
  const std::vector<float> weights = {3, 0, 2, 2, 1, 5, 4, 4, 9, 1, 2, 2, 9};
  const auto encoded = encode(sparse(0.5, 2, kFloat, 2), {1, 13}, weights, pool);
  EXPECT_EQ(encoded.values, (std::vector<float>{3, 0, 0, 0, 0, 0, 4, 4, 9, 1, 0, 0, 9}));
  // Rows that keep the short run and rows that do not.
  const auto rows = encode(sparse(0.5, 0, kFloat, 2), {2, 5}, {1, 1, 3, 3, 9, 1, 1, 3, 3, 2}, pool);
  EXPECT_EQ(rows.values, (std::vector<float>{0, 0, 3, 3, 9, 0, 0, 3, 3, 2}));
  const auto other =
      encode(sparse(0.4, 0, kFloat, 2), {2, 5}, {1, 1, 3, 3, 9, 1, 1, 3, 3, 2}, pool);
  EXPECT_EQ(other.values, (std::vector<float>{0, 0, 0, 0, 9, 0, 0, 3, 3, 0}));
}

// The importance of columns decides, if the solver searches with it.
TEST(Sparse, WeighsRunsByImportance) {
  ThreadPool pool(1);
  const std::vector<float> importance = {1, 1, 9, 9};
  const FitOptions fit{5, importance.data()};
  const auto encoded = encode(sparse(0.5, 2, kFloat, 2), {1, 4}, {3, 3, 2, 2}, pool, fit);
  EXPECT_EQ(encoded.values, (std::vector<float>{0, 0, 2, 2}));
}

TEST(Sparse, BitsPerWeightAreExact) {
  const auto bpw = [](const Scheme& scheme) {
    return 8.0 * static_cast<double>(scheme.codec->encoded_bytes({4096, 4096}, scheme.options)) /
           (4096.0 * 4096.0);
  };
  EXPECT_DOUBLE_EQ(bpw(sparse(0.5, 4, R"({"codec":"int","options":{"bits":4,"group":64}})")),
                   1 + 0.5 * (4 + 20.0 / 64));
  EXPECT_DOUBLE_EQ(bpw(sparse(0.25, 0, R"({"codec":"nf4","options":{"group":64}})")),
                   1 + 0.25 * 4.25);
  EXPECT_DOUBLE_EQ(bpw(sparse(0.5, 0, R"({"codec":"int","options":{"bits":4,"group":16}})", 16)),
                   1.0 / 16 + 0.5 * (4 + 20.0 / 16));
}

// Without loss in the survivors: what is lost is the power of the smaller half of each pair of
// normal weights, E min(x², y²) / 2 = 1/2 - 1/π, and of the half below the median of |x|.
TEST(Sparse, LosesThePowerOfWhatIsDropped) {
  EXPECT_NEAR(gaussian_error(sparse(0.5, 2, kFloat)), 0.5 - 1 / M_PI, 0.002);
  const double median = 0.6744897501960817;
  const double power = 0.5 - 2 * median * std::exp(-median * median / 2) / std::sqrt(2 * M_PI);
  EXPECT_NEAR(gaussian_error(sparse(0.5, 0, kFloat)), power, 0.002);
  // Of two runs of two normal weights, the smaller Σ x²: of two exponential variables of mean 2,
  // whose minimum has the mean 1, out of 4.
  EXPECT_NEAR(gaussian_error(sparse(0.5, 2, kFloat, 2)), 0.25, 0.002);
}

TEST(Sparse, WorksWithEveryCodecOfSingleColumns) {
  ThreadPool pool(2);
  const MatrixShape shape{19, 130};
  const auto weights = testing::normal_weights(19 * 130, 4);
  int worked = 0;
  for (const Codec* codec : Registry<Codec>::instance().all()) {
    const std::string& id = codec->info().id;
    if (has_inner_scheme(*codec)) continue;
    const Scheme inner(id, nlohmann::json::object());
    for (const auto& [of, run] : {std::pair{0, 1}, {4, 1}, {2, 8}}) {
      const Scheme scheme = sparse(0.5, of, inner.to_json().dump(), run);
      int64_t block_cols = 0;
      try {
        block_cols = codec->encoder({19, run == 1 ? 65 : 72}, inner.options)->block_cols();
      } catch (const Error&) {
        continue;  // refuses the shape
      }
      if (block_cols > 1) {
        EXPECT_THROW(scheme.codec->encoder(shape, scheme.options), Error) << id;
        continue;
      }
      ++worked;
      const auto encoded = encode(scheme, shape, weights, pool, FitOptions{5, nullptr});
      EXPECT_EQ(testing::decode(scheme, shape, encoded.bytes, 0, 19), encoded.values) << id;
      EXPECT_LT(testing::relative_mse(weights, encoded.values), 0.6) << id;
    }
  }
  EXPECT_GT(worked, 10);
}

TEST(Sparse, RefusesWhatIsNoCodec) {
  const std::string deep =
      R"({"codec":"int","options":)" + std::string(100000, '[') + std::string(100000, ']') + "}";
  const std::string not_codecs[] = {"",  "int", "{}", R"({"codec":5})", R"({"codec":"sparse"})",
                                    deep};
  for (const std::string& inner : not_codecs) {
    const Scheme scheme = sparse(0.5, 4, inner);
    try {
      scheme.codec->encoded_bytes({4, 4}, scheme.options);
      ADD_FAILURE() << inner;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << inner;
    }
  }
}

}  // namespace
}  // namespace bitsmith
