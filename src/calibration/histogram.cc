#include "calibration/histogram.h"

#include <algorithm>
#include <cmath>

namespace bitsmith {

void Histogram::widen(double magnitude) {
  if (magnitude == 0) return;
  if (width_ == 0) {  // magnitude < 2^(ilogb + 1) = kHalf * width
    width_ = std::ldexp(1.0, std::ilogb(magnitude) + 1) / static_cast<double>(kHalf);
    return;
  }
  while (magnitude >= width_ * static_cast<double>(kHalf)) {
    std::vector<int64_t> joined(bins_.size());
    for (size_t i = 0; i < bins_.size(); ++i) joined[i / 2 + bins_.size() / 4] += bins_[i];
    bins_ = std::move(joined);
    width_ *= 2;
  }
}

void Histogram::add(std::span<const float> x) {
  float low = 0;
  float high = 0;
  for (const float v : x) {
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  extremes_.low = std::min<double>(extremes_.low, low);
  extremes_.high = std::max<double>(extremes_.high, high);
  widen(std::max(-static_cast<double>(low), static_cast<double>(high)));
  count_ += static_cast<int64_t>(x.size());
  const double inverse = width_ == 0 ? 0 : 1 / width_;
  for (const float v : x) {
    if (v == 0) {
      ++zeros_;
    } else {
      const double bin = std::floor(static_cast<double>(v) * inverse);
      ++bins_[static_cast<size_t>(static_cast<int64_t>(bin) + kHalf)];
    }
  }
}

}  // namespace bitsmith
