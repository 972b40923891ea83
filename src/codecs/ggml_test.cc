// ggml's codecs: bytes against ggml's own decoders, distortion against theory, laws of the search.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "codecs/codec_testing.h"
#include "codecs/ggml_block.h"
#include "core/output_file.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::normal_weights;
using testing::relative_mse;

std::vector<const GgmlCodec*> ggml_codecs() {
  std::vector<const GgmlCodec*> codecs;
  for (const Codec* codec : Registry<Codec>::instance().all()) {
    if (const auto* ggml = dynamic_cast<const GgmlCodec*>(codec)) codecs.push_back(ggml);
  }
  return codecs;
}

Scheme scheme_of(const std::string& id) {
  // The source has variance 1.
  if (id == "nvfp4_ggml") return Scheme(id, {{"tensor_scale", 1.0}});
  return Scheme(id, nlohmann::json::object());
}

double gaussian_error(const std::string& id, int search_steps) {
  const MatrixShape shape{256, 2048};
  static const auto weights = normal_weights(static_cast<size_t>(shape.rows * shape.cols), 12);
  static ThreadPool pool;
  const auto encoded =
      encode(scheme_of(id), shape, weights, pool, FitOptions{.search_steps = search_steps}, 64);
  return relative_mse(weights, encoded.values);
}

// tests/vectors/ggml/ID.bin: blocks of random bytes, then what ggml decodes them to.
TEST(GgmlCodecs, DecodeAsGgmlDoes) {
  for (const GgmlCodec* codec : ggml_codecs()) {
    SCOPED_TRACE(codec->info().id);
    const std::string file = read_file(
        std::string(BITSMITH_SOURCE_DIR) + "/tests/vectors/ggml/" + codec->info().id + ".bin",
        1 << 20);
    const auto per_block =
        static_cast<size_t>(codec->format().block_bytes + 4 * codec->format().block_cols);
    ASSERT_EQ(file.size() % per_block, 0U);
    const size_t blocks = file.size() / per_block;
    ASSERT_GE(blocks, 4U);
    const size_t bytes = blocks * static_cast<size_t>(codec->format().block_bytes);
    const Scheme scheme = codec->info().options.empty()
                              ? Scheme(codec->info().id, nlohmann::json::object())
                              : Scheme(codec->info().id, {{"tensor_scale", 1.0}});
    const CodedTensor tensor{"x",
                             {1, static_cast<int64_t>(blocks) * codec->format().block_cols},
                             scheme,
                             std::as_bytes(std::span(file)).first(bytes)};
    const std::vector<float> values = tensor.decode_all();
    ASSERT_EQ(bytes + 4 * values.size(), file.size());
    for (size_t i = 0; i < values.size(); ++i) {
      float expected;
      std::memcpy(&expected, file.data() + bytes + 4 * i, 4);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(values[i])) << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(expected)) << i;
      }
    }
  }
}

// Whatever a block holds, packing what was unpacked gives it back, if it has no spare codes.
TEST(GgmlCodecs, PackUndoesUnpack) {
  Random random(5);
  for (const GgmlCodec* codec : ggml_codecs()) {
    const GgmlFormat& format = codec->format();
    if (format.id == "tq1_0") continue;  // 3^5 values in a byte
    for (int trial = 0; trial < 100; ++trial) {
      std::vector<uint8_t> bytes(static_cast<size_t>(format.block_bytes));
      for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.next());
      GgmlHeader header;
      GgmlCodes codes{};
      format.unpack(bytes.data(), header, codes);
      std::vector<uint8_t> again(bytes.size());
      format.pack(header, codes, again.data());
      ASSERT_EQ(again, bytes) << format.id;
    }
  }
}

// Every sequence of trits survives its byte.
TEST(GgmlCodecs, TernaryBytesHoldFiveTrits) {
  const auto& codec = dynamic_cast<const GgmlCodec&>(Registry<Codec>::instance().get("tq1_0"));
  Random random(6);
  for (int trial = 0; trial < 200; ++trial) {
    GgmlCodes codes{};
    for (uint8_t& c : codes) c = static_cast<uint8_t>(random.below(3));
    std::vector<uint8_t> bytes(static_cast<size_t>(codec.format().block_bytes));
    codec.format().pack({}, codes, bytes.data());
    GgmlHeader header;
    GgmlCodes again{};
    codec.format().unpack(bytes.data(), header, again);
    ASSERT_EQ(again, codes);
  }
}

TEST(GgmlCodecs, BitsPerWeightAreExact) {
  const std::map<std::string, double> expected = {
      {"iq4_nl", 4.5},  {"iq4_xs", 4.25}, {"mxfp4_ggml", 4.25}, {"nvfp4_ggml", 4.5},
      {"q2_k", 2.625},  {"q3_k", 3.4375}, {"q4_0", 4.5},        {"q4_1", 5},
      {"q4_k", 4.5},    {"q5_0", 5.5},    {"q5_1", 6},          {"q5_k", 5.5},
      {"q6_k", 6.5625}, {"q8_0", 8.5},    {"tq1_0", 1.6875},    {"tq2_0", 2.0625}};
  EXPECT_EQ(ggml_codecs().size(), expected.size());
  for (const auto& [id, bpw] : expected) {
    const Scheme scheme(id, nlohmann::json::object());
    EXPECT_DOUBLE_EQ(static_cast<double>(scheme.codec->encoded_bytes({256, 512}, scheme.options)) *
                         8 / (256 * 512),
                     bpw)
        << id;
  }
}

TEST(GgmlCodecs, RefuseRowsThatAreNotWholeBlocks) {
  for (const GgmlCodec* codec : ggml_codecs()) {
    const Scheme scheme(codec->info().id, nlohmann::json::object());
    try {
      scheme.codec->encoded_bytes({4, codec->format().block_cols + 16}, scheme.options);
      ADD_FAILURE() << codec->info().id;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(codec->info().id), std::string::npos);
    }
  }
}

// Measured on the same source by an independent implementation; the finite sample leaves 2 %.
TEST(GgmlCodecs, MatchMeasuredGaussianDistortion) {
  const auto near = [](const std::string& id, int steps, double expected) {
    const double value = gaussian_error(id, steps);
    EXPECT_NEAR(value / expected, 1.0, 0.02) << id << ": " << value << " against " << expected;
  };
  near("q4_0", 0, 0.00738);
  near("iq4_nl", 20, 0.00541);
  near("mxfp4_ggml", 0, 0.01321);
  near("mxfp4_ggml", 1, 0.01244);
  near("nvfp4_ggml", 0, 0.00904);
  near("nvfp4_ggml", 1, 0.00659);
}

// Three levels with the best scale: 0.1902 (Max 1960, Table I); a scale for 256 weights of the
// block gains a little on that.
TEST(GgmlCodecs, TernaryFindsTheThreeLevelQuantizer) {
  for (const char* id : {"tq1_0", "tq2_0"}) EXPECT_NEAR(gaussian_error(id, 30), 0.190, 0.003) << id;
}

TEST(GgmlCodecs, ErrorFallsWithBits) {
  for (const int steps : {0, 20}) {
    const auto falls = [&](std::initializer_list<const char*> ids) {
      double previous = 1e9;
      for (const char* id : ids) {
        const double error = gaussian_error(id, steps);
        EXPECT_LT(error, previous) << id << ", " << steps;
        previous = error;
      }
    };
    falls({"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q8_0"});
    falls({"q4_0", "q5_0", "q8_0"});
    falls({"q4_1", "q5_1", "q8_0"});
  }
}

// Per block, under the weights that the search was given.
TEST(GgmlCodecs, SearchIsNeverWorseThanPlain) {
  ThreadPool pool(1);
  const MatrixShape shape{20, 512};
  std::vector<float> importance(static_cast<size_t>(shape.cols));
  Random random(6);
  for (float& x : importance) x = static_cast<float>(random.uniform() * random.uniform());
  for (const GgmlCodec* codec : ggml_codecs()) {
    for (const auto& [name, weights] :
         testing::hard_weights(static_cast<size_t>(shape.rows * shape.cols))) {
      if (name == "huge" || name == "largest") continue;  // squares overflow
      const Scheme scheme = scheme_of(codec->info().id);
      const auto plain = encode(scheme, shape, weights, pool);
      const auto best = encode(scheme, shape, weights, pool, FitOptions{10, importance.data()});
      const auto block = static_cast<size_t>(codec->format().block_cols);
      for (size_t first = 0; first < weights.size(); first += block) {
        double plain_error = 0;
        double best_error = 0;
        for (size_t i = first; i < first + block; ++i) {
          const double weight = static_cast<double>(importance[i % 512]);
          const double w = static_cast<double>(weights[i]);
          plain_error += weight * std::pow(w - static_cast<double>(plain.values[i]), 2);
          best_error += weight * std::pow(w - static_cast<double>(best.values[i]), 2);
        }
        ASSERT_LE(best_error, plain_error * (1 + 1e-4) + 1e-30)
            << codec->info().id << ", " << name << ", block at " << first;
      }
    }
  }
}

TEST(GgmlCodecs, E4M3ScalesAreThoseOfGgml) {
  EXPECT_EQ(e4m3_to_float(0), 0.0F);
  EXPECT_EQ(e4m3_to_float(1), 0x1p-9F);
  EXPECT_EQ(e4m3_to_float(8), 0x1p-6F);
  EXPECT_EQ(e4m3_to_float(0x38), 1.0F);
  EXPECT_EQ(e4m3_to_float(0x7e), 448.0F);
  EXPECT_EQ(e4m3_to_float(0x7f), 0.0F);
}

}  // namespace
}  // namespace bitsmith
