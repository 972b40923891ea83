// Which of n weights are kept: stored as a bitmap or as the gaps between them, whichever is
// smaller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bitsmith {

// A mask as the caller has it: element i is bit i % 64 of word i / 64; bits beyond n are 0.
using MaskWords = std::span<const uint64_t>;

inline constexpr int kMaxGapBits = 16;

// How a mask is stored, and its size.
struct MaskForm {
  int gap_bits = 0;    // 0: a bitmap; else the width of a gap, 1 to 16
  int64_t gaps = 0;    // stored, fillers included
  uint64_t bytes = 0;  // exact
};

// The smallest form; a bitmap on ties, then the narrowest gaps. O(n / 64 + 16 ones).
MaskForm smallest_mask_form(MaskWords mask, int64_t n);

// Bytes of a bitmap of n elements, and of so many gaps.
uint64_t bitmap_bytes(int64_t n);
uint64_t gap_bytes(int64_t gaps, int width);

// Gaps of `width` bits that a mask needs, fillers included.
int64_t count_gaps(MaskWords mask, int width);

// Gaps that any mask of n elements with `ones` kept ones fits into.
int64_t most_gaps(int64_t n, int64_t ones, int width);

// The bytes of a mask of `n` elements; its form and how many are kept are told elsewhere:
//
//     bitmap     element i in bit i % 8 of byte i / 8; the rest 0
//     gaps of w  w bits each, bit 0 of the first byte first; the rest 0
//
// A gap g < 2^w - 1 means: g elements that are not kept, then one that is. g = 2^w - 1 is a filler:
// that many that are not kept, and no element. (The relative indices of Han et al. 2016,
// arXiv:1510.00149, whose fillers are kept zeros.) Writes all of `out`, form.bytes or more; gaps
// that the mask does not need are 0.
void encode_mask(MaskWords mask, int64_t n, const MaskForm& form, std::span<std::byte> out);

// The inverse, for bytes that may be hostile: reads until `ones` elements are kept or the bytes or
// the n elements end. ceil(n / 64) words.
std::vector<uint64_t> decode_mask(std::span<const std::byte> bytes, int64_t n, int gap_bits,
                                  int64_t ones);

}  // namespace bitsmith
