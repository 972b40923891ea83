// Chooses the scales and offsets of ggml's blocks, 16 rows at a time.
#pragma once

#include <array>

#include "codecs/ggml_levels.h"

namespace bitsmith {

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
