// The best levels {-a, 0, b} of a group of numbers.
#pragma once

#include <span>

namespace bitsmith {

struct TernaryLevels {
  float positive;  // b >= 0
  float negative;  // a >= 0
};

// The least Σ weight * (w - q)² over all thresholds. Symmetric: with the k largest magnitudes coded
// as ± s, s is their mean and the error falls by (Σ weight |w|)² / Σ weight, so one pass over the
// sorted magnitudes finds the best k (Li, Zhang, Liu 2016, eq. 5, solved exactly). Otherwise each
// side is solved so on its own.
//   weights [w.size()] or nullptr: all 1
TernaryLevels best_ternary(std::span<const float> w, const float* weights, bool symmetric);

}  // namespace bitsmith
