// The levels of a ggml format, and the nearest of them.
#pragma once

#include <array>
#include <cstdint>

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

}  // namespace bitsmith
