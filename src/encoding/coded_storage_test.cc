// Entropy-coded tensors: lossless for every codec, close to the entropy on a real model.
#include "encoding/coded_storage.h"

#include <gtest/gtest.h>

#include "codecs/codec_testing.h"
#include "core/testing.h"
#include "encoding/symbol_blocks.h"
#include "formats/model.h"

namespace bitsmith {
namespace {

class Storage : public ::testing::TestWithParam<const EntropyCoder*> {};

// What an ideal coder that knows only how often each symbol occurs would need, over all streams.
double ideal_bytes(const CodedTensor& tensor) {
  const Codec& codec = *tensor.scheme.codec;
  const auto streams = codec.symbol_streams(tensor.matrix(), tensor.scheme.options);
  double bits = 0;
  for (size_t s = 0; s < streams.size(); ++s) {
    std::vector<uint8_t> symbols(static_cast<size_t>(streams[s].count));
    codec.split_symbols(tensor.matrix(), tensor.scheme.options, tensor.bytes, s, 0, symbols);
    bits += entropy_bits(count_symbols(symbols));
  }
  return bits / 8;
}

TEST_P(Storage, EveryCodecComesBackByteForByte) {
  ThreadPool pool(2);
  for (const Codec* codec : Registry<Codec>::instance().all()) {
    const Scheme scheme(codec->info().id, nlohmann::json::object());
    const CodedTensor shape_only{"w", {67, 768}, scheme, {}};
    const auto size = codec->encoded_bytes(shape_only.matrix(), scheme.options);
    const auto weights = testing::normal_weights(67 * 768, 1);
    ThreadPool one(1);
    std::vector<std::vector<std::byte>> contents = {
        testing::encode(scheme, shape_only.matrix(), weights, one).bytes,
        std::vector<std::byte>(size), std::vector<std::byte>(size, std::byte{0xff})};
    for (const auto& bytes : contents) {
      const CodedTensor tensor{"w", {67, 768}, scheme, bytes};
      const auto stored = encode_storage(tensor, *GetParam(), pool);
      EXPECT_EQ(encode_storage(tensor, *GetParam(), one), stored);
      EXPECT_GE(stored.size() * kLargestExpansion, bytes.size());
      std::vector<std::byte> decoded(bytes.size());
      decode_storage(tensor, stored, *GetParam(), pool, decoded);
      ASSERT_EQ(decoded, bytes) << codec->info().id;
    }
  }
}

TEST_P(Storage, HostileBytesAreErrors) {
  ThreadPool pool(1);
  for (const char* id : {"int", "bf16"}) {
    const Scheme scheme(id, nlohmann::json::object());
    const MatrixShape shape{5, 70};
    const auto bytes =
        testing::encode(scheme, shape, testing::normal_weights(5 * 70, 2), pool).bytes;
    const CodedTensor tensor{"w", {5, 70}, scheme, bytes};
    const auto stored = encode_storage(tensor, *GetParam(), pool);
    std::vector<std::byte> decoded(bytes.size());
    for (size_t size = 0; size < stored.size(); ++size) {
      EXPECT_THROW(
          decode_storage(tensor, std::span(stored).first(size), *GetParam(), pool, decoded), Error);
    }
    Random random(3);
    for (int i = 0; i < 2000; ++i) {
      auto damaged = stored;
      damaged[random.below(damaged.size())] ^= std::byte{1} << static_cast<int>(random.below(8));
      std::ranges::fill(decoded, std::byte{0});
      try {
        decode_storage(tensor, damaged, *GetParam(), pool, decoded);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      }
    }
  }
}

// A few bytes cannot ask for gigabytes.
TEST_P(Storage, ExpansionIsBounded) {
  ThreadPool pool(1);
  const Scheme scheme("bf16", nlohmann::json::object());
  const std::vector<std::byte> zeros(size_t{2} << 20);
  const CodedTensor tensor{"w", {1 << 20}, scheme, zeros};
  const auto stored = encode_storage(tensor, *GetParam(), pool);
  EXPECT_EQ(stored.size(), zeros.size() / kLargestExpansion);
  std::vector<std::byte> decoded(zeros.size());
  decode_storage(tensor, stored, *GetParam(), pool, decoded);
  EXPECT_EQ(decoded, zeros);
  EXPECT_THROW(decode_storage(tensor, std::span(stored).first(stored.size() - 1), *GetParam(), pool,
                              decoded),
               Error);
}

// The project's own model: its bf16 weights, and their nearest integer codes.
TEST_P(Storage, ComesWithinOnePercentOfTheEntropyOfARealModel) {
  const auto path = testing::source_folder() / "models" / "classics-7m";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "models/classics-7m is not there";
  const Model model = open_model(path);
  ThreadPool pool(2);
  std::vector<std::optional<Scheme>> schemes = {std::nullopt};
  for (int bits = 2; bits <= 4; ++bits) {
    schemes.emplace_back(Scheme("int", {{"bits", bits}, {"group", 64}, {"symmetric", bits == 4}}));
  }
  for (const auto& scheme : schemes) {
    double ideal = 0;
    uint64_t stored = 0;
    uint64_t packed = 0;
    for (const char* name : {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
                             "model.layers.3.mlp.down_proj.weight"}) {
      CodedTensor tensor = model.parameter(name);
      std::vector<std::byte> bytes;
      if (scheme) {
        bytes = testing::encode(*scheme, tensor.matrix(), tensor.decode_all(), pool).bytes;
        tensor = {tensor.name, tensor.shape, *scheme, bytes};
      }
      const auto coded = encode_storage(tensor, *GetParam(), pool);
      std::vector<std::byte> decoded(tensor.bytes.size());
      decode_storage(tensor, coded, *GetParam(), pool, decoded);
      ASSERT_TRUE(std::ranges::equal(decoded, tensor.bytes));
      ideal += ideal_bytes(tensor);
      stored += coded.size();
      packed += tensor.bytes.size();
    }
    EXPECT_LE(static_cast<double>(stored), 1.01 * ideal) << (scheme ? scheme->label() : "bf16");
    // Neighbours in a group are alike, which tuples see and the entropy of single symbols does not.
    EXPECT_GE(static_cast<double>(stored), 0.9 * ideal);
    if (!scheme) {
      // About 10.6 of 16 bits are ideal for trained bf16 weights.
      EXPECT_NEAR(static_cast<double>(stored) / static_cast<double>(packed), 0.67, 0.02);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Encoding, Storage,
                         ::testing::ValuesIn(Registry<EntropyCoder>::instance().all()),
                         [](const auto& param) { return param.param->info().id; });

}  // namespace
}  // namespace bitsmith
