#include "encoding/mask.h"

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"
#include "core/random.h"

namespace bitsmith {
namespace {

std::vector<uint64_t> random_mask(int64_t n, double density, uint64_t seed) {
  Random random(seed);
  std::vector<uint64_t> mask(static_cast<size_t>((n + 63) / 64));
  for (int64_t i = 0; i < n; ++i) {
    if (random.uniform() < density) mask[static_cast<size_t>(i / 64)] |= uint64_t{1} << (i % 64);
  }
  return mask;
}

TEST(Mask, GivesBackEveryElementAtThePredictedSize) {
  for (const int64_t n : {0, 1, 7, 8, 63, 64, 65, 1000, 70001}) {
    for (const double density : {0.0, 0.0005, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0}) {
      const auto mask = random_mask(n, density, 1);
      const MaskForm form = smallest_mask_form(mask, n);
      const auto bytes = encode_mask(mask, n, form);
      EXPECT_EQ(bytes.size(), form.bytes);
      EXPECT_LE(form.bytes, 1 + static_cast<uint64_t>((n + 7) / 8));
      ASSERT_EQ(decode_mask(bytes, n), mask) << n << " " << density;
    }
  }
}

// The chosen width against all others, written out.
TEST(Mask, TheChosenFormIsTheSmallest) {
  const int64_t n = 20000;
  for (const double density : {0.001, 0.02, 0.09, 0.2}) {
    const auto mask = random_mask(n, density, 2);
    const MaskForm best = smallest_mask_form(mask, n);
    std::vector<int64_t> kept;
    for (int64_t i = 0; i < n; ++i) {
      if (mask[static_cast<size_t>(i / 64)] >> (i % 64) & 1) kept.push_back(i);
    }
    uint64_t smallest = 1 + static_cast<uint64_t>(n) / 8;
    for (int w = 1; w <= kMaxGapBits; ++w) {
      int64_t gaps = 0;
      int64_t at = 0;
      for (const int64_t k : kept) {
        for (; k - at >= (1 << w) - 1; at += (1 << w) - 1) ++gaps;
        ++gaps;
        at = k + 1;
      }
      smallest = std::min(smallest, static_cast<uint64_t>(9 + (gaps * w + 7) / 8));
    }
    EXPECT_EQ(best.bytes, smallest) << density;
  }
  EXPECT_EQ(smallest_mask_form(random_mask(n, 0.5, 3), n).gap_bits, 0);
  // Deep Compression kept about 1 in 10 weights with gaps of 4 bits.
  EXPECT_EQ(smallest_mask_form(random_mask(n, 0.1, 4), n).gap_bits, 4);
}

TEST(Mask, HostileBytesAreErrors) {
  const int64_t n = 500;
  for (const double density : {0.02, 0.5}) {
    const auto mask = random_mask(n, density, 5);
    const auto bytes = encode_mask(mask, n, smallest_mask_form(mask, n));
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_THROW(decode_mask(std::span(bytes).first(size), n), Error);
    }
    Random random(6);
    for (int i = 0; i < 3000; ++i) {
      auto damaged = bytes;
      damaged[random.below(damaged.size())] ^= std::byte{1} << static_cast<int>(random.below(8));
      try {
        decode_mask(damaged, n);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      }
    }
    EXPECT_THROW(decode_mask(bytes, n - 64), Error);
  }
}

}  // namespace
}  // namespace bitsmith
