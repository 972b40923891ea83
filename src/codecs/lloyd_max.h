// The scalar quantizer of least squared error for given numbers (Lloyd 1982, Max 1960).
#pragma once

#include <span>
#include <vector>

namespace bitsmith {

// `count` levels, ascending, that minimise Σ weight * (x - nearest level)².
//   weights [values.size()], not negative, or nullptr: all 1; all zero counts as all 1
// Up to 16 levels: the best partition of at most 1024 runs of neighbouring numbers, by dynamic
// programming over intervals (Wu 1991), so no local minimum is far off. More levels: cells of equal
// share in ∫ density^(1/3) (Panter and Dite 1951). Both are then improved by Lloyd's iteration on
// all numbers. If there are at most `count` different numbers, the levels are these numbers, the
// last one repeated. O(n log n).
std::vector<float> lloyd_max_levels(std::span<const float> values, const float* weights, int count);

}  // namespace bitsmith
