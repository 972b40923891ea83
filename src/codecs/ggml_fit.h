// Chooses the scales and offsets of ggml's blocks, 16 rows at a time.
#pragma once

#include <array>

#include "codecs/ggml_block.h"
#include "codecs/int_fit.h"

namespace bitsmith {

// The levels that an encoder may use, ascending.
struct LevelGrid {
  static constexpr int kMaxTable = 16;

  explicit LevelGrid(const GgmlFormat& format);

  struct Choice {
    uint8_t code;
    float level;
  };
  // The level nearest to target / scale. inverse = 1 / scale, or 0 for a scale of 0. Defined for
  // every input.
  Choice nearest(float target, float scale, float inverse) const {
    if (uniform) {
      const float index = nearest_int_code(target, inverse, zero, max_index);
      return {static_cast<uint8_t>(first_code + static_cast<int>(index)), index - zero};
    }
    // No division: an E8M0 scale may have an infinite inverse.
    const float x = scale < 0.0F ? -target : target;
    const float magnitude = scale < 0.0F ? -scale : scale;
    size_t index = 0;
    for (size_t i = 0; i + 1 < static_cast<size_t>(count); ++i) {
      index += x > magnitude * middles[i] ? 1U : 0U;
    }
    return {codes[index], levels[index]};
  }

  float lowest() const { return uniform ? -zero : levels[0]; }
  float highest() const {
    return uniform ? max_index - zero : levels[static_cast<size_t>(count - 1)];
  }

  bool uniform = false;
  int count = 0;
  // uniform: level = index - zero, code = first_code + index
  int first_code = 0;
  float zero = 0;
  float max_index = 0;
  // otherwise
  std::array<float, kMaxTable> levels{};
  std::array<float, kMaxTable> middles{};  // between a level and the next
  std::array<uint8_t, kMaxTable> codes{};
};

// Fits one block of 16 rows.
//   w [block_cols] of 16 rows each (column-major tile)
// Plain (search_steps = 0): from the extreme weights of each sub-block, such that the extreme has
// the outermost code. Scales and factors are rounded towards zero, so that a block whose weights
// can be represented is represented: coding decoded values changes nothing. E8M0 as in the OCP MX
// specification, floor(log2 largest) - 2.
// Search: ranges of each sub-block between the plain one (symmetric levels: a little wider) and a
// fifth of it, then least squares; factors near the best real ones, several scales of the block,
// and coordinate descent over the factors of scales and offsets, all by importance-weighted squared
// error of the whole block. Never worse than plain.
// O(block_cols * (search_steps + 50)), with offsets three times that.
std::array<GgmlHeader, kLanes> fit_ggml_tile(const GgmlFormat& format, const LevelGrid& grid,
                                             float tensor_scale, const Lanes* w,
                                             const FitOptions& fit);

}  // namespace bitsmith
