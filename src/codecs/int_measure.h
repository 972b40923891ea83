// The squared error of a group under given parameters: the inner loop of every range search.
#pragma once

#include "codecs/int_fit.h"

namespace bitsmith {

// Σ over columns of importance * (w - q)² for 16 rows, q the nearest level to w.
//   w [cols] of 16 rows each;  importance [cols], or nullptr: all 1
// Compiled for every SIMD target and dispatched at run time. The last bits depend on whether the
// CPU fuses multiplications and additions, so a search may take another of two equally good ranges
// there.
Lanes int_group_error(const IntParameters& parameters, float max_code, const Lanes* w, int64_t cols,
                      const float* importance);

}  // namespace bitsmith
