// What every registered codec must do, whatever it is: shapes, hard data, options, threads, hostile
// bytes.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "codecs/codec_testing.h"
#include "core/error.h"

namespace bitsmith {
namespace {

using testing::decode;
using testing::encode;
using testing::Encoded;
using testing::hard_weights;

// 256 and 768 columns are for codecs that code whole blocks of 256.
const std::vector<MatrixShape> kShapes = {{0, 0},   {0, 5},   {3, 0},    {1, 1},    {1, 64},
                                          {16, 64}, {17, 63}, {15, 65},  {33, 128}, {2, 129},
                                          {5, 288}, {70, 33}, {1, 1000}, {17, 256}, {2, 768}};

// Edge values of one option.
std::vector<nlohmann::json> edge_values(const OptionSpec& spec) {
  if (std::holds_alternative<bool>(spec.default_value)) return {false, true};
  if (const auto* text = std::get_if<std::string>(&spec.default_value)) {
    if (spec.choices.empty()) return {*text};
    return {spec.choices.begin(), spec.choices.end()};
  }
  if (const auto* number = std::get_if<double>(&spec.default_value)) {
    return {*number, spec.min, spec.max};
  }
  const int64_t usual = std::get<int64_t>(spec.default_value);
  const auto min = static_cast<int64_t>(std::max(spec.min, -0x1p40));
  const auto max = static_cast<int64_t>(std::min(spec.max, 0x1p40));
  std::vector<nlohmann::json> values;
  if (max - min <= 16) {
    for (int64_t v = min; v <= max; ++v) values.push_back(v);
    return values;
  }
  for (const int64_t v : std::set<int64_t>{min, min + 1, usual, usual + 1, max}) {
    values.push_back(v);
  }
  return values;
}

// The product of the edge values of all options; where that is too much, of all but the last, which
// is then alone; where that is too much, one option at a time.
std::vector<nlohmann::json> option_grid(const PartInfo& info) {
  constexpr size_t kMost = 100;
  std::vector<nlohmann::json> product = {nlohmann::json::object()};
  std::vector<nlohmann::json> one_at_a_time = product;
  for (size_t i = 0; i < info.options.size(); ++i) {
    const OptionSpec& spec = info.options[i];
    std::vector<nlohmann::json> alone;
    std::vector<nlohmann::json> next;
    for (const nlohmann::json& value : edge_values(spec)) {
      alone.push_back({{spec.name, value}});
      for (nlohmann::json options : product) {
        options[spec.name] = value;
        next.push_back(std::move(options));
      }
    }
    one_at_a_time.insert(one_at_a_time.end(), alone.begin(), alone.end());
    const bool last = i + 1 == info.options.size();
    if (next.size() > kMost && last && product.size() <= kMost) {
      product.insert(product.end(), alone.begin(), alone.end());
      return product;
    }
    product = std::move(next);
    if (product.size() > kMost) product.resize(kMost + 1);
  }
  return product.size() > kMost ? one_at_a_time : product;
}

// The size of a matrix under a scheme, or nothing if the codec refuses the combination by name.
std::optional<uint64_t> size_or_refused(const Scheme& scheme, const MatrixShape& shape) {
  try {
    return scheme.codec->encoded_bytes(shape, scheme.options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
    return std::nullopt;
  }
}

// Large matrices are left out for codecs that search for the codes of whole tiles.
bool is_slow(const Scheme& scheme, const MatrixShape& shape) {
  return shape.rows * shape.cols > 1100 &&
         scheme.codec->encoder(shape, scheme.options)->block_cols() > 64 &&
         shape != MatrixShape{5, 288};
}

class Conformance : public ::testing::TestWithParam<const Codec*> {
 protected:
  // Calls check(scheme, shape) for every combination that the codec accepts.
  template <class Check>
  void for_each_combination(Check check) {
    const PartInfo& info = GetParam()->info();
    int accepted = 0;
    for (const nlohmann::json& options : option_grid(info)) {
      const Scheme scheme(info.id, options);
      for (const MatrixShape& shape : kShapes) {
        if (!size_or_refused(scheme, shape)) continue;
        if (is_slow(scheme, shape)) continue;
        ++accepted;
        SCOPED_TRACE(fmt::format("{} on {} x {}", scheme.to_json().dump(), shape.rows, shape.cols));
        check(scheme, shape);
        if (HasFatalFailure()) return;
      }
    }
    EXPECT_GT(accepted, 0);
  }
};

// What the encoder reports is what the bytes decode to, all of it finite.
TEST_P(Conformance, DecodesToWhatTheEncoderReported) {
  ThreadPool pool(1);
  for_each_combination([&](const Scheme& scheme, const MatrixShape& shape) {
    for (const auto& [name, weights] : hard_weights(static_cast<size_t>(shape.rows * shape.cols))) {
      const Encoded encoded = encode(scheme, shape, weights, pool);
      ASSERT_EQ(decode(scheme, shape, encoded.bytes, 0, shape.rows), encoded.values) << name;
      for (const float value : encoded.values) ASSERT_TRUE(std::isfinite(value)) << name;
    }
  });
}

// A group whose weights can all be represented is represented: coding twice changes nothing.
TEST_P(Conformance, CodingDecodedValuesChangesNothing) {
  ThreadPool pool(1);
  for_each_combination([&](const Scheme& scheme, const MatrixShape& shape) {
    if (!scheme.codec->is_idempotent(scheme.options)) return;
    for (const auto& [name, weights] : hard_weights(static_cast<size_t>(shape.rows * shape.cols))) {
      const Encoded once = encode(scheme, shape, weights, pool);
      const Encoded twice = encode(scheme, shape, once.values, pool);
      ASSERT_EQ(twice.values, once.values) << name;
    }
  });
}

TEST_P(Conformance, SameBytesForAnyThreadsAndChunks) {
  const PartInfo& info = GetParam()->info();
  const MatrixShape shape{131, 256};
  const auto weights = testing::normal_weights(static_cast<size_t>(shape.rows * shape.cols), 2);
  std::vector<float> importance(static_cast<size_t>(shape.cols));
  for (size_t c = 0; c < importance.size(); ++c) importance[c] = 1.0F + static_cast<float>(c % 7);
  for (const FitOptions& fit : {FitOptions{}, FitOptions{5, importance.data()}}) {
    const Scheme scheme(info.id, nlohmann::json::object());
    ThreadPool one(1);
    const Encoded expected = encode(scheme, shape, weights, one, fit);
    for (const int threads : {2, 7}) {
      ThreadPool pool(threads);
      for (const int64_t chunk_rows : {1, 16, 37}) {
        const Encoded encoded = encode(scheme, shape, weights, pool, fit, chunk_rows);
        EXPECT_EQ(encoded.bytes, expected.bytes) << threads << " threads, chunks of " << chunk_rows;
      }
    }
  }
}

TEST_P(Conformance, DecodesAnyRangeOfRows) {
  ThreadPool pool(1);
  for_each_combination([&](const Scheme& scheme, const MatrixShape& shape) {
    const auto weights = testing::normal_weights(static_cast<size_t>(shape.rows * shape.cols), 3);
    const Encoded encoded = encode(scheme, shape, weights, pool);
    for (const int64_t begin : {int64_t{0}, shape.rows / 3, shape.rows / 2, shape.rows}) {
      const int64_t count = (shape.rows - begin + 1) / 2;
      const std::vector<float> part = decode(scheme, shape, encoded.bytes, begin, count);
      ASSERT_TRUE(
          std::equal(part.begin(), part.end(), encoded.values.begin() + begin * shape.cols));
    }
  });
}

// Random and extreme bytes decode to something, without a crash (run under the sanitizers too).
TEST_P(Conformance, SurvivesHostileBytes) {
  Random random(4);
  for_each_combination([&](const Scheme& scheme, const MatrixShape& shape) {
    std::vector<std::byte> bytes(scheme.codec->encoded_bytes(shape, scheme.options));
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.next());
    decode(scheme, shape, bytes, 0, shape.rows);
    std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
    decode(scheme, shape, bytes, 0, shape.rows);
  });
}

// Splitting into streams of symbols and joining them again loses no bit, even of padding.
TEST_P(Conformance, SymbolStreamsLoseNoBit) {
  Random random(5);
  for_each_combination([&](const Scheme& scheme, const MatrixShape& shape) {
    const Codec& codec = *scheme.codec;
    std::vector<std::byte> bytes(codec.encoded_bytes(shape, scheme.options));
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.next());
    std::vector<std::byte> joined(bytes.size());
    const auto streams = codec.symbol_streams(shape, scheme.options);
    for (size_t s = 0; s < streams.size(); ++s) {
      ASSERT_TRUE(streams[s].bits >= 1 && streams[s].bits <= 8 && streams[s].count >= 0);
      // Later ranges first: each must be independent of the others.
      for (int64_t r = ceil_div(streams[s].count, kSymbolRange); r-- > 0;) {
        const int64_t begin = r * kSymbolRange;
        std::vector<uint8_t> symbols(
            static_cast<size_t>(std::min(kSymbolRange, streams[s].count - begin)), 0xcc);
        codec.split_symbols(shape, scheme.options, bytes, s, begin, symbols);
        for (const uint8_t symbol : symbols) ASSERT_EQ(symbol >> streams[s].bits, 0);
        codec.join_symbols(shape, scheme.options, s, begin, symbols, joined);
      }
    }
    ASSERT_EQ(joined, bytes);
  });
}

TEST_P(Conformance, RefusesImpossibleSizes) {
  const Scheme scheme(GetParam()->info().id, nlohmann::json::object());
  const MatrixShape shape{int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_THROW(scheme.codec->encoded_bytes(shape, scheme.options), Error);
}

TEST_P(Conformance, SaysWhatItIs) {
  const PartInfo& info = GetParam()->info();
  EXPECT_FALSE(info.summary.empty());
  EXPECT_FALSE(info.source.empty());
  for (const nlohmann::json& options : option_grid(info)) {
    const Scheme scheme(info.id, options);
    EXPECT_FALSE(scheme.label().empty());
    EXPECT_EQ(Scheme::from_json(scheme.to_json()).options, scheme.options);
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Conformance,
                         ::testing::ValuesIn(Registry<Codec>::instance().all()),
                         [](const auto& param) { return param.param->info().id; });

}  // namespace
}  // namespace bitsmith
