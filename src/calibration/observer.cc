#include "calibration/observer.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bitsmith {

AffineCode::AffineCode(const ValueRange& range, int bits) : high((1 << bits) - 1) {
  // A value that is always 0 has a scale all the same.
  constexpr double kLeast = std::numeric_limits<float>::min();
  scale = static_cast<float>(std::max((range.high - range.low) / high, kLeast));
  const double below = -range.low / static_cast<double>(scale);
  zero = static_cast<int>(std::clamp<double>(std::nearbyint(below), 0, high));
}

double AffineCode::rounded(double x) const {
  const auto s = static_cast<double>(scale);
  return (std::clamp<double>(std::nearbyint(x / s) + zero, 0, high) - zero) * s;
}

}  // namespace bitsmith
