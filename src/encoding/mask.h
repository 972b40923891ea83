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
  uint64_t bytes = 0;  // exact, with the header
};

// The smallest form; a bitmap on ties, then the narrowest gaps. O(n / 64 + 16 ones).
MaskForm smallest_mask_form(MaskWords mask, int64_t n);

// The bytes of a mask of `n` elements:
//
//     u8 width   0: then ceil(n / 8) bytes, element i in bit i % 8 of byte i / 8; the rest 0
//                w: then u64 gaps and their packed w bits, bit 0 of the first byte first; the rest
//                0
//
// A gap g < 2^w - 1 means: g elements that are not kept, then one that is. g = 2^w - 1 is a filler:
// that many that are not kept, and no element. (The relative indices of Han et al. 2016,
// arXiv:1510.00149, whose fillers are kept zeros.) After the last gap nothing is kept.
std::vector<std::byte> encode_mask(MaskWords mask, int64_t n, const MaskForm& form);

// The inverse: ceil(n / 64) words. `bytes` may be hostile: kCorrupt unless they are exactly one
// mask of n elements. n is the caller's and bounds the memory.
std::vector<uint64_t> decode_mask(std::span<const std::byte> bytes, int64_t n);

}  // namespace bitsmith
