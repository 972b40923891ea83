// Codec `salient`: which columns it takes, exact sizes, distortion, composition, hostile masks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "codecs/codec_testing.h"
#include "codecs/inner_scheme.h"
#include "core/error.h"
#include "encoding/coded_storage.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::normal_weights;

const std::string kFloat = R"({"codec":"f32","options":{}})";
const std::string kSigns = R"({"codec":"binary","options":{"group":0}})";

Scheme salient(double fraction, const std::string& first, const std::string& inner) {
  return Scheme("salient", {{"fraction", fraction}, {"salient", first}, {"inner", inner}});
}

TEST(Salient, TakesTheColumnsOfMostPower) {
  ThreadPool pool(2);
  const std::vector<float> w = {1,  5, -1, 3, 1,  //
                                -1, 5, 1,  3, -1};
  const auto encoded = encode(salient(0.4, kFloat, kSigns), {2, 5}, w, pool);
  EXPECT_EQ(encoded.values, w);  // the others are ±1 in each row
  EXPECT_EQ(std::to_integer<int>(encoded.bytes[0]), 0b01010);
  // Columns whose input is large, if the solver searches with that.
  const std::vector<float> importance = {1, 1, 40, 1, 30};
  const FitOptions fit{5, importance.data()};
  const auto weighted = encode(salient(0.4, kFloat, kSigns), {2, 5}, w, pool, fit);
  EXPECT_EQ(std::to_integer<int>(weighted.bytes[0]), 0b10100);
}

TEST(Salient, BitsPerWeightAreExact) {
  const auto bpw = [](const Scheme& scheme) {
    return 8.0 * static_cast<double>(scheme.codec->encoded_bytes({4096, 4096}, scheme.options)) /
           (4096.0 * 4096.0);
  };
  // Columns are filled to whole vectors: 819 to 824 and 3277 to 3296 (32 columns of one bit,
  // 8 of four); a binary16 and a zero point for the row, a binary16; a bit per column.
  const double int4 = 824 * 4 + 16 + 4;
  const double signs = 3296 + 16;
  EXPECT_DOUBLE_EQ(bpw(salient(0.2, R"({"codec":"int","options":{"bits":4,"group":0}})", kSigns)),
                   (int4 + signs) / 4096 + 1.0 / 4096);
  EXPECT_NEAR(bpw(Scheme("salient", nlohmann::json::object())), 1.618, 0.001);
}

// Loud columns without loss, signs times a scale for the others: 1 - 2/π of their power is lost.
TEST(Salient, LosesWhatSignsLoseOfTheOthers) {
  ThreadPool pool(2);
  const MatrixShape shape{256, 2048};
  std::vector<float> w = normal_weights(256 * 2048, 3);
  for (size_t i = 0; i < w.size(); ++i) {
    if (i % 8 == 3) w[i] *= 4.0F;
  }
  const auto encoded = encode(salient(1.0 / 8, kFloat, kSigns), shape, w, pool);
  const double power = 7.0 / (7.0 + 16.0);
  EXPECT_NEAR(testing::relative_mse(w, encoded.values), power * (1 - 2 / M_PI), 0.002);
}

TEST(Salient, WorksWithEveryCodecOfSingleColumns) {
  ThreadPool pool(2);
  const MatrixShape shape{19, 130};
  const auto weights = normal_weights(19 * 130, 4);
  int worked = 0;
  for (const Codec* codec : Registry<Codec>::instance().all()) {
    if (has_inner_scheme(*codec)) continue;
    const Scheme inner(codec->info().id, nlohmann::json::object());
    const Scheme scheme = salient(0.5, kFloat, inner.to_json().dump());
    int64_t block_cols = 0;
    try {
      block_cols = codec->encoder({19, 65}, inner.options)->block_cols();
    } catch (const Error&) {
      continue;  // refuses the shape
    }
    if (block_cols > 1) {
      EXPECT_THROW(scheme.codec->encoder(shape, scheme.options), Error) << inner.label();
      continue;
    }
    ++worked;
    const auto encoded = encode(scheme, shape, weights, pool, FitOptions{5, nullptr});
    EXPECT_EQ(testing::decode(scheme, shape, encoded.bytes, 0, 19), encoded.values)
        << inner.label();
    EXPECT_LT(testing::relative_mse(weights, encoded.values), 0.3) << inner.label();
  }
  EXPECT_GT(worked, 10);
}

// More or fewer columns than there are values for: those beyond are 0.
TEST(Salient, ReadsHostileMasks) {
  ThreadPool pool(1);
  const MatrixShape shape{1, 6};
  const Scheme scheme = salient(0.5, kFloat, kFloat);
  auto encoded = encode(scheme, shape, {1, 2, 3, 4, 5, 6}, pool);
  encoded.bytes[0] = std::byte{0b111110};
  EXPECT_EQ(testing::decode(scheme, shape, encoded.bytes, 0, 1),
            (std::vector<float>{1, 4, 5, 6, 0, 0}));
  encoded.bytes[0] = std::byte{0};
  EXPECT_EQ(testing::decode(scheme, shape, encoded.bytes, 0, 1),
            (std::vector<float>{1, 2, 3, 0, 0, 0}));
}

TEST(Salient, RefusesCodecsThatHaveInnerOnes) {
  const Scheme scheme = salient(0.5, R"({"codec":"outliers"})", kSigns);
  try {
    scheme.codec->encoded_bytes({4, 4}, scheme.options);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("'outliers'"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace bitsmith
