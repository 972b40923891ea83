// Squared errors and sums over a sub-block of 16 rows: the inner loops of the search for scales.
#pragma once

#include "codecs/ggml_levels.h"

namespace bitsmith {

// Columns of a sub-block.
struct SubBlock {
  const Lanes* w;           // [cols] of 16 rows each
  int64_t cols;             //
  const float* importance;  // [cols], or nullptr: all 1
};

// Adds Σ importance * (w - scale * level - offset)² to `error`, level the nearest to w.
void add_ggml_error(const LevelGrid& grid, const SubBlock& sub, const Lanes& scale,
                    const Lanes& offset, Lanes& error);

// Sums over columns, each times the importance; L is the nearest level to w. `error` is what
// add_ggml_error() adds.
struct LevelSums {
  Lanes one{}, level{}, level_level{}, weight{}, level_weight{}, error{};
};
LevelSums ggml_level_sums(const LevelGrid& grid, const SubBlock& sub, const Lanes& scale,
                          const Lanes& offset);

}  // namespace bitsmith
