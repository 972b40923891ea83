// Layout and code functions of the codec `trellis`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "codecs/codec.h"

namespace bitsmith {

// A shift register of 16 bits takes the bits of a column at each step, from the low end; its
// content after the step is the column's state, and value(state) is what the step decodes to.
inline constexpr int kTrellisStateBits = 16;

// Bits per column in quarters: steps of floor(rate) and ceil(rate) bits alternate so that column t
// begins at bit floor(t * rate).
struct TrellisRate {
  int quarters = 0;  // 4 to 16
  int64_t begin(int64_t col) const { return col * quarters / 4; }
  int step(int64_t col) const { return static_cast<int>(begin(col + 1) - begin(col)); }
  int least_step() const { return quarters / 4; }
};

// A row is cut into tiles of 256 columns; the last has as many as are left, rounded up to a
// multiple of 32. A tile of n columns is a closed string of n * rate bits. The state of column t is
// the 16 bits of the string that end with its own, i.e. bits [begin(t+1) - 16, begin(t+1)), indices
// modulo the length of the string, the first one highest:
//
//     2 bits:       ... | c(t-3) | c(t-2) | c(t-1) | c(t) | c(t+1) ...
//                                         state(t)   ^ lowest two bits
//     1.5 bits:     c(t) has one bit for even t and two for odd t
//
// and the weight is scale * value(state). Bit i of the string is bit 31 - i % 32 of word i / 32; a
// tile begins with a new word.
//
// The tensor's bytes are two sections, each filled with zero bytes to a multiple of 64:
//     words   for each panel of 16 rows, for each word of the row (its tiles one after the other):
//             16 words of 32 bits, one per row
//     scales  for each panel, for each group: 16 binary16, one per row
struct TrellisLayout {
  static constexpr int64_t kTileCols = 256;
  static constexpr int64_t kPanelRows = 16;

  // `group`: 0 or a multiple of 256.
  TrellisLayout(const MatrixShape& shape, int bits, int64_t group, int quarters = 0);

  MatrixShape shape;
  int bits;  // whole ones
  TrellisRate rate;
  int64_t tiles;        // of a row
  int64_t group_tiles;  // tiles that share a scale
  int64_t groups;       // of a row
  int64_t row_words;
  int64_t scales_offset;
  int64_t total_bytes;

  int64_t tile_words() const { return rate.begin(kTileCols) / 32; }  // of all tiles but the last
  // Columns of a tile, those included that fill it up to a multiple of 32.
  int64_t tile_cols(int64_t tile) const {
    return std::min(kTileCols, ceil_div(shape.cols - tile * kTileCols, 32) * 32);
  }
  // Words of a tile of so many columns.
  int64_t words_of(int64_t cols) const { return ceil_div(rate.begin(cols), 32); }
  int64_t word_offset(int64_t row, int64_t word) const {
    return (row / kPanelRows * row_words + word) * 64 + row % kPanelRows * 4;
  }
  int64_t scale_offset(int64_t row, int64_t group) const {
    return scales_offset + (row / kPanelRows * groups + group) * 32 + row % kPanelRows * 2;
  }
};

// The values of all 2^16 states x, about normally distributed; 32-bit unsigned arithmetic:
//   3inst   y = 89226354 x + 64248484;  the sum of the two binary16 of (y & 8fff8fff) ^ 3b603b60
//   mcg     the same with y = cbac1fed x
//   mul1    y = 83dcd12d x;  (the sum of its four bytes - 510) / 128
//   lookup  y = (x >> 8) ^ kScramble[x & 127];  +- kMagnitude[y & 127] / 64, + if bit 7 of y is set
// Tseng et al. 2024 (QTIP), arXiv:2406.11235; multipliers: ExLlamaV3. `lookup` is made for
// processors that look up 64 bytes in tables of 128 at once: the new bits, scrambled, turn the high
// byte's place among 256 levels, so that paths that meet have had values far from each other.
const std::vector<float>& trellis_values(const std::string& code);

struct TrellisLookup {
  // The first half of a random permutation of 256 bytes, one of eight that were tried.
  static const uint8_t kScramble[128];
  // Means of a normal distribution in 128 intervals of equal probability, to the power 1.06 for
  // longer tails, in units that make the largest 127.
  static const uint8_t kMagnitude[128];
};

}  // namespace bitsmith
