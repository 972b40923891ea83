// How often an activation has which values.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibration/observer.h"

namespace bitsmith {

// 2 kHalf bins around zero whose width is a power of two and doubles when a larger value comes:
// pairs of bins are then joined. So the counts do not depend on the order of the values. The width
// is at most 1/2048 of the largest magnitude. Exact zeros are counted apart: they have a code
// whatever the range, and after a ReLU they are half of all.
class Histogram {
 public:
  static constexpr int64_t kHalf = 4096;

  void add(std::span<const float> x);  // finite

  double width() const { return width_; }
  // Bin i covers [(i - kHalf) * width, (i + 1 - kHalf) * width).
  const std::vector<int64_t>& bins() const { return bins_; }
  double center(int64_t i) const { return (static_cast<double>(i - kHalf) + 0.5) * width_; }
  int64_t zeros() const { return zeros_; }
  int64_t count() const { return count_; }  // with zeros
  // Of the smallest and the largest value, and 0.
  const ValueRange& extremes() const { return extremes_; }

 private:
  void widen(double magnitude);

  double width_ = 0;
  std::vector<int64_t> bins_ = std::vector<int64_t>(static_cast<size_t>(2 * kHalf));
  int64_t zeros_ = 0;
  int64_t count_ = 0;
  ValueRange extremes_;
};

}  // namespace bitsmith
