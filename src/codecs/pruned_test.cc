// Codec `pruned`: which weights survive, exact sizes, masks of gaps, composition, entropy coding.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "codecs/codec_testing.h"
#include "codecs/inner_scheme.h"
#include "codecs/mask.h"
#include "core/error.h"
#include "encoding/coded_storage.h"

namespace bitsmith {
namespace {

using testing::encode;

const std::string kFloat = R"({"codec":"f32","options":{}})";

Scheme pruned(double density, int gap_bits, int64_t gaps, const std::string& inner) {
  return Scheme("pruned",
                {{"density", density}, {"gap_bits", gap_bits}, {"gaps", gaps}, {"inner", inner}});
}

TEST(Pruned, KeepsTheLargestOfTheTensor) {
  ThreadPool pool(1);
  const std::vector<float> weights = {1, -3, 2, 0.5F, 9, 8, -7, 0.1F};
  for (const int gap_bits : {0, 2}) {
    const auto encoded = encode(pruned(0.5, gap_bits, 0, kFloat), {2, 4}, weights, pool);
    EXPECT_EQ(encoded.values, (std::vector<float>{0, -3, 0, 0, 9, 8, -7, 0}));
  }
  // Equal weights: those that come first.
  const auto equal = encode(pruned(0.5, 0, 0, kFloat), {1, 4}, {1, 1, 1, 1}, pool);
  EXPECT_EQ(equal.values, (std::vector<float>{1, 1, 0, 0}));
}

TEST(Pruned, BytesAreExact) {
  const auto bytes = [](const Scheme& scheme) {
    return scheme.codec->encoded_bytes({64, 1000}, scheme.options);
  };
  // 6400 survivors in 16 rows of 400.
  EXPECT_EQ(bytes(pruned(0.1, 0, 0, kFloat)), 8000 + 4 * 6400u);
  EXPECT_EQ(bytes(pruned(0.1, 5, 0, kFloat)), ((6400 + 57600 / 31) * 5 + 7) / 8 + 4 * 6400u);
  EXPECT_EQ(bytes(pruned(0.1, 5, 6500, kFloat)), (6500 * 5 + 7) / 8 + 4 * 6400u);
  // 4 bits of 400 columns of 16 rows, and 16 entries in a section of 64 bytes.
  const std::string shared = R"({"codec":"codebook","options":{"bits":4,"scope":"tensor"}})";
  EXPECT_EQ(bytes(pruned(0.1, 0, 0, shared)), 8000 + 64 + 6400 / 2u);
}

TEST(Pruned, RefusesAMaskThatDoesNotFit) {
  ThreadPool pool(1);
  std::vector<float> weights(1000, 0.0F);
  weights[999] = 1;
  EXPECT_NO_THROW(encode(pruned(0.001, 2, 334, kFloat), {1, 1000}, weights, pool));
  std::string message;
  try {
    encode(pruned(0.001, 2, 5, kFloat), {1, 1000}, weights, pool);
  } catch (const Error& error) {
    message = error.what();
  }
  EXPECT_NE(message.find("needs 334 gaps"), std::string::npos) << message;
  const Scheme no_bits = pruned(0.5, 0, 3, kFloat);
  EXPECT_THROW(no_bits.codec->encoded_bytes({4, 4}, no_bits.options), Error);
}

// Each codec of single columns keeps what it does to a dense matrix of the survivors.
TEST(Pruned, WorksWithEveryCodecOfSingleColumns) {
  ThreadPool pool(2);
  const MatrixShape shape{19, 130};
  const auto weights = testing::normal_weights(19 * 130, 4);
  int worked = 0;
  for (const Codec* codec : Registry<Codec>::instance().all()) {
    const std::string& id = codec->info().id;
    if (has_inner_scheme(*codec)) continue;
    const Scheme inner(id, nlohmann::json::object());
    const Scheme scheme = pruned(0.5, 3, 0, inner.to_json().dump());
    int64_t block_cols = 0;
    try {
      block_cols = codec->encoder({16, 78}, inner.options)->block_cols();
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
  EXPECT_GT(worked, 10);
}

// An entropy coder comes near to the entropy of mask and codes, each by itself.
TEST(Pruned, EntropyCodingReachesTheEntropyOfMaskAndCodes) {
  ThreadPool pool(1);
  const MatrixShape shape{256, 2048};
  const auto n = static_cast<size_t>(shape.rows * shape.cols);
  const auto weights = testing::normal_weights(n, 5);
  const double density = 0.1;
  for (const char* bits : {"3", "5"}) {
    const std::string inner = std::string(R"({"codec":"codebook","options":{"bits":)") + bits +
                              R"(,"scope":"tensor","symbols":"codes"}})";
    const Scheme scheme = pruned(density, 0, 0, inner);
    const auto encoded = encode(scheme, shape, weights, pool);
    std::map<float, double> counts;
    for (const float q : encoded.values) {
      if (q != 0) counts[q] += 1;
    }
    double entropy = static_cast<double>(n) *
                     (-density * std::log2(density) - (1 - density) * std::log2(1 - density));
    const double survivors = density * static_cast<double>(n);
    for (const auto& [value, count] : counts) entropy -= count * std::log2(count / survivors);
    const CodedTensor tensor{"w", {shape.rows, shape.cols}, scheme, encoded.bytes};
    const auto stored =
        encode_storage(tensor, Registry<EntropyCoder>::instance().get("rans"), pool);
    EXPECT_GT(8.0 * static_cast<double>(stored.size()), 0.99 * entropy);
    EXPECT_LT(8.0 * static_cast<double>(stored.size()), 1.02 * entropy) << bits;
  }
}

}  // namespace
}  // namespace bitsmith
