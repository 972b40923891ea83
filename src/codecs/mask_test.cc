#include "codecs/mask.h"

#include <gtest/gtest.h>

#include <bit>

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

std::vector<std::byte> encoded(const std::vector<uint64_t>& mask, int64_t n, const MaskForm& form) {
  std::vector<std::byte> bytes(form.bytes, std::byte{0xaa});
  encode_mask(mask, n, form, bytes);
  return bytes;
}

int64_t ones_of(const std::vector<uint64_t>& mask) {
  int64_t ones = 0;
  for (const uint64_t word : mask) ones += std::popcount(word);
  return ones;
}

TEST(Mask, GivesBackEveryElementAtThePredictedSize) {
  for (const int64_t n : {0, 1, 7, 8, 63, 64, 65, 1000, 70001}) {
    for (const double density : {0.0, 0.0005, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0}) {
      const auto mask = random_mask(n, density, 1);
      const MaskForm form = smallest_mask_form(mask, n);
      EXPECT_LE(form.bytes, static_cast<uint64_t>((n + 7) / 8));
      const int64_t ones = ones_of(mask);
      ASSERT_EQ(decode_mask(encoded(mask, n, form), n, form.gap_bits, ones), mask)
          << n << " " << density;
      for (const int width : {0, 1, 3, 8, 16}) {
        const MaskForm own = width == 0
                                 ? MaskForm{0, 0, bitmap_bytes(n)}
                                 : MaskForm{width, 0, gap_bytes(most_gaps(n, ones, width), width)};
        ASSERT_EQ(decode_mask(encoded(mask, n, own), n, width, ones), mask) << n << " " << width;
      }
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
    uint64_t smallest = static_cast<uint64_t>(n) / 8;
    for (int w = 1; w <= kMaxGapBits; ++w) {
      int64_t gaps = 0;
      int64_t at = 0;
      for (const int64_t k : kept) {
        for (; k - at >= (1 << w) - 1; at += (1 << w) - 1) ++gaps;
        ++gaps;
        at = k + 1;
      }
      smallest = std::min(smallest, static_cast<uint64_t>((gaps * w + 7) / 8));
    }
    EXPECT_EQ(best.bytes, smallest) << density;
  }
  EXPECT_EQ(smallest_mask_form(random_mask(n, 0.5, 3), n).gap_bits, 0);
  // Deep Compression kept about 1 in 10 weights with gaps of 4 bits.
  EXPECT_EQ(smallest_mask_form(random_mask(n, 0.1, 4), n).gap_bits, 4);
}

TEST(Mask, HostileBytesGiveAMaskOfNoMoreThanItsElements) {
  const int64_t n = 500;
  Random random(6);
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::byte> bytes(random.below(80));
    for (std::byte& b : bytes) b = static_cast<std::byte>(random.next());
    const auto ones = static_cast<int64_t>(random.below(600));
    const auto mask = decode_mask(bytes, n, static_cast<int>(random.below(17)), ones);
    EXPECT_EQ(mask.size(), 8u);
    EXPECT_EQ(mask.back() >> (n % 64), 0u);
    EXPECT_LE(ones_of(mask), ones);
  }
}

}  // namespace
}  // namespace bitsmith
