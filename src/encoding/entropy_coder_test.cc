// What every registered entropy coder must do: be lossless, close to the entropy, and survive
// damaged bytes, on every SIMD target.
#include "encoding/entropy_coder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "encoding/code_lengths.h"
#include "encoding/encoding_testing.h"
#include "encoding/frequencies.h"
#include "encoding/symbol_blocks.h"
#include "runtime/kernels/cpu.h"

namespace bitsmith {
namespace {

using testing::gaussian_codes;
using testing::geometric_symbols;
using testing::hard_symbols;

const std::vector<size_t> kCounts = {0, 1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 65, 1000, 4097, 70001};

size_t different(const Histogram& counts) {
  return static_cast<size_t>(std::ranges::count_if(counts, [](uint32_t n) { return n > 0; }));
}

class Coders : public ::testing::TestWithParam<std::tuple<const EntropyCoder*, std::string>> {
 protected:
  void SetUp() override { limit_cpu_target(std::get<1>(GetParam())); }
  void TearDown() override { limit_cpu_target(""); }
  const EntropyCoder& coder() const { return *std::get<0>(GetParam()); }

  std::vector<std::byte> encode(const std::vector<uint8_t>& symbols) const {
    std::vector<std::byte> bytes;
    coder().encode(symbols, count_symbols(symbols), bytes);
    return bytes;
  }
};

TEST_P(Coders, GiveBackEverySymbol) {
  for (const size_t count : kCounts) {
    for (const auto& [name, symbols] : hard_symbols(count, 8)) {
      if (different(count_symbols(symbols)) < 2) continue;
      const std::vector<std::byte> bytes = encode(symbols);
      std::vector<uint8_t> decoded(count, 0xcc);
      coder().decode(bytes, decoded);
      ASSERT_EQ(decoded, symbols) << name << " " << count;
    }
  }
}

TEST_P(Coders, BlocksOfEveryWidthGiveBackEverySymbol) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const size_t count : kCounts) {
      for (const auto& [name, symbols] : hard_symbols(count, bits)) {
        std::vector<std::byte> bytes;
        encode_block(coder(), bits, symbols, bytes);
        EXPECT_LE(bytes.size(), 1 + (count * static_cast<size_t>(bits) + 7) / 8) << name;
        std::vector<uint8_t> decoded(count, 0xcc);
        decode_block(coder(), bits, bytes, decoded);
        ASSERT_EQ(decoded, symbols) << name << " " << count << " of " << bits << " bits";
      }
    }
  }
}

// The estimate is what tuples are chosen by.
TEST_P(Coders, EstimateTheirSize) {
  for (const double ratio : {0.01, 0.3, 0.8, 0.97}) {
    const auto symbols = geometric_symbols(100000, 8, ratio, 4);
    const double bytes = static_cast<double>(encode(symbols).size());
    const auto estimate = static_cast<double>(coder().estimate_bytes(count_symbols(symbols)));
    EXPECT_NEAR(estimate, bytes, 0.002 * bytes + 70) << ratio;
  }
}

// What integer codes cost, at most 1 % above the entropy; tuples make up for whole bits.
TEST_P(Coders, BlocksComeWithinOnePercentOfTheEntropy) {
  for (int bits = 2; bits <= 8; ++bits) {
    const auto symbols = gaussian_codes(1 << 18, bits, 5);
    const double ideal = entropy_bits(count_symbols(symbols)) / 8;
    std::vector<std::byte> bytes;
    encode_block(coder(), bits, symbols, bytes);
    const auto size = static_cast<double>(bytes.size());
    // Above 0.99 of the packed size the symbols are copied.
    EXPECT_LE(size, std::max(1.01 * ideal, 0.0)) << bits << " bits";
    EXPECT_GE(size, 0.999 * ideal) << bits << " bits";
  }
}

// Every prefix and many damaged copies: an Error or other symbols, never a read out of bounds
// (seen by the address sanitizer).
TEST_P(Coders, SurviveDamage) {
  for (const auto& [name, symbols] : hard_symbols(300, 8)) {
    if (different(count_symbols(symbols)) < 2) continue;
    const std::vector<std::byte> bytes = encode(symbols);
    std::vector<uint8_t> decoded(symbols.size());
    for (size_t size = 0; size < bytes.size(); ++size) {
      const std::vector<std::byte> prefix(bytes.begin(),
                                          bytes.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_THROW(coder().decode(prefix, decoded), Error) << name << " " << size;
    }
    Random random(6);
    for (int i = 0; i < 3000; ++i) {
      std::vector<std::byte> damaged = bytes;
      for (uint64_t n = 1 + random.below(3); n > 0; --n) {
        damaged[random.below(damaged.size())] ^= std::byte{1} << static_cast<int>(random.below(8));
      }
      try {
        coder().decode(damaged, decoded);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      }
    }
    // A count that is not the code's own.
    for (const size_t wrong : {size_t{0}, symbols.size() - 40, symbols.size() + 40}) {
      std::vector<uint8_t> other(wrong);
      EXPECT_THROW(coder().decode(bytes, other), Error) << name << " " << wrong;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Encoding, Coders,
    ::testing::Combine(::testing::ValuesIn(Registry<EntropyCoder>::instance().all()),
                       ::testing::ValuesIn(cpu_targets())),
    [](const auto& param) {
      return std::get<0>(param.param)->info().id + "_" + std::get<1>(param.param);
    });

TEST(SymbolBlocks, StreamsDoNotDependOnThreads) {
  const EntropyCoder& coder = Registry<EntropyCoder>::instance().get("rans");
  const auto symbols = gaussian_codes(static_cast<size_t>(2 * kBlockSymbols) + 77, 4, 7);
  const auto count = static_cast<int64_t>(symbols.size());
  const ReadSymbols read = [&](int64_t begin, std::span<uint8_t> out) {
    std::copy_n(symbols.begin() + begin, out.size(), out.begin());
  };
  ThreadPool one(1);
  const auto expected = encode_stream(coder, 4, count, read, one);
  for (const int threads : {2, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(encode_stream(coder, 4, count, read, pool), expected);
    std::vector<uint8_t> decoded(symbols.size());
    decode_stream(
        coder, 4, count, expected,
        [&](int64_t begin, std::span<const uint8_t> in) {
          std::ranges::copy(in, decoded.begin() + begin);
        },
        pool);
    EXPECT_EQ(decoded, symbols);
  }
}

TEST(SymbolBlocks, HostileStreamsAreErrors) {
  const EntropyCoder& coder = Registry<EntropyCoder>::instance().get("huffman");
  const auto symbols = geometric_symbols(500, 3, 0.4, 8);
  ThreadPool pool(1);
  const auto bytes = encode_stream(
      coder, 3, 500,
      [&](int64_t, std::span<uint8_t> out) { std::ranges::copy(symbols, out.begin()); }, pool);
  const auto decode = [&](std::span<const std::byte> stream, int64_t count) {
    decode_stream(
        coder, 3, count, stream, [](int64_t, std::span<const uint8_t>) {}, pool);
  };
  decode(bytes, 500);
  EXPECT_THROW(decode(bytes, 499), Error);
  EXPECT_THROW(decode(bytes, int64_t{1} << 46), Error);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(decode(std::span(bytes).first(size), 500), Error) << size;
  }
  auto longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_THROW(decode(longer, 500), Error);
}

// All lengths up to 4 for 5 symbols, tried out.
TEST(CodeLengths, AreTheBestUnderTheirLimit) {
  Random random(9);
  for (int trial = 0; trial < 200; ++trial) {
    Histogram counts{};
    for (size_t s = 0; s < 5; ++s) counts[s] = 1 + static_cast<uint32_t>(random.below(trial + 2));
    if (trial % 3 == 0) counts[4] *= 1000;
    for (const int limit : {3, 4}) {
      const CodeLengths lengths = limited_code_lengths(counts, limit);
      uint64_t cost = 0;
      double filled = 0;
      for (size_t s = 0; s < 5; ++s) {
        ASSERT_GE(lengths[s], 1);
        ASSERT_LE(lengths[s], limit);
        cost += uint64_t{counts[s]} * lengths[s];
        filled += std::ldexp(1.0, -lengths[s]);
      }
      EXPECT_EQ(filled, 1.0);
      uint64_t best = ~uint64_t{0};
      for (int code = 0; code < 1024; ++code) {
        uint64_t tried = 0;
        double kraft = 0;
        for (size_t s = 0; s < 5; ++s) {
          const int length = 1 + (code >> (2 * s) & 3);
          kraft += length > limit ? 2 : std::ldexp(1.0, -length);
          tried += uint64_t{counts[s]} * static_cast<uint64_t>(length);
        }
        if (kraft <= 1) best = std::min(best, tried);
      }
      EXPECT_EQ(cost, best);
    }
  }
}

// Without a limit in reach, the cost is that of Huffman's own algorithm: the sum of all merges.
TEST(CodeLengths, EqualHuffmansAlgorithmWithoutALimit) {
  const auto symbols = geometric_symbols(5000, 8, 0.9, 10);
  const Histogram counts = count_symbols(symbols);
  const CodeLengths lengths = limited_code_lengths(counts, 30);
  uint64_t cost = 0;
  std::vector<uint64_t> heap;
  for (size_t s = 0; s < counts.size(); ++s) {
    cost += uint64_t{counts[s]} * lengths[s];
    if (counts[s] > 0) heap.push_back(counts[s]);
  }
  uint64_t merged = 0;
  while (heap.size() > 1) {
    std::ranges::sort(heap, std::greater());
    const uint64_t pair = heap.back() + heap[heap.size() - 2];
    heap.pop_back();
    heap.back() = pair;
    merged += pair;
  }
  EXPECT_EQ(cost, merged);
}

TEST(Frequencies, SumUpAndAreCloseToTheBest) {
  Random random(11);
  for (int trial = 0; trial < 300; ++trial) {
    Histogram counts{};
    for (size_t s = 0; s < 3; ++s) counts[s] = static_cast<uint32_t>(random.below(200));
    counts[random.below(3)] += 1 + static_cast<uint32_t>(random.below(2000));
    const Histogram frequencies = normalized_frequencies(counts, 32);
    const auto cost = [&](const auto& f) {
      double bits = 0;
      for (size_t s = 0; s < 3; ++s) {
        if (counts[s] > 0) bits -= counts[s] * std::log2(f[s] / 32.0);
      }
      return bits;
    };
    uint32_t sum = 0;
    for (size_t s = 0; s < counts.size(); ++s) {
      EXPECT_EQ(frequencies[s] > 0, counts[s] > 0);
      sum += frequencies[s];
    }
    EXPECT_EQ(sum, 32U);
    double best = 1e30;
    for (uint32_t a = 0; a <= 32; ++a) {
      for (uint32_t b = 0; a + b <= 32; ++b)
        best = std::min(best, cost(std::array{a, b, 32 - a - b}));
    }
    EXPECT_LE(cost(frequencies), 1.01 * best + 1e-9);
  }
}

// More symbols than units after rounding: each still gets one.
TEST(Frequencies, LeaveOneForEverySymbol) {
  Histogram counts{};
  counts.fill(1);
  counts[7] = 1'000'000;
  const Histogram frequencies = normalized_frequencies(counts, 4096);
  uint32_t sum = 0;
  for (const uint32_t f : frequencies) {
    EXPECT_GE(f, 1U);
    sum += f;
  }
  EXPECT_EQ(sum, 4096U);
  EXPECT_EQ(frequencies[7], 4096U - 255);
}

}  // namespace
}  // namespace bitsmith
