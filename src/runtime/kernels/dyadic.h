// The one rule by which integer results are scaled: a product by an integer and a rounding shift.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace bitsmith {

// A scale as an integer fraction, scale ~ multiplier * 2^(left - 32 - shift), to 31 bits.
//   |multiplier| < 2^31, at least 2^30 for scales of 2^-32 and more;  shift in [1, 30]
//   left in [0, 23]: 0 for scales below 1/4, as those of convolutions are
struct Dyadic {
  int32_t multiplier = 0;
  int32_t shift = 1;
  int32_t left = 0;
};

// The nearest fraction; kInvalidArgument unless |scale| <= kMaxDyadicScale. Weights whose largest
// magnitude is positive may have a negative scale, so that it is -128 times something.
inline constexpr double kMaxDyadicScale = 1 << 20;
Dyadic make_dyadic(double scale);

// The upper half of the 64-bit product: floor(a * b / 2^32).
inline int32_t multiply_high(int32_t a, int32_t b) {
  return static_cast<int32_t>((int64_t{a} * b) >> 32);
}

// floor(a * scale + 1/2), exactly for the scale that `d` stands for: to nearest, halves upward. It
// takes no more than 32 bits, because both floors are divisions by powers of two:
//     floor(floor(a * multiplier / 2^32 + 2^(shift - 1)) / 2^shift)
// With left > 0, `a` is first limited to what can be shifted: larger ones give results beyond any
// 8-bit range anyway (2^(31 - left) * scale >= 2^28).
inline int32_t scale_rounded(int32_t a, const Dyadic& d) {
  if (d.left > 0) {
    const int32_t limit = std::numeric_limits<int32_t>::max() >> d.left;
    a = std::clamp(a, -limit, limit) * (int32_t{1} << d.left);
  }
  return (multiply_high(a, d.multiplier) + (int32_t{1} << (d.shift - 1))) >> d.shift;
}

// What every integer kernel does with a sum: scales it to the output's codes and clamps it.
//   zero: the output's zero point;  min, max: codes, 0 and 255 or what a fused ReLU or Clip leaves
inline uint8_t requantize(int32_t sum, const Dyadic& scale, int32_t zero, int32_t min,
                          int32_t max) {
  return static_cast<uint8_t>(std::clamp(scale_rounded(sum, scale) + zero, min, max));
}

// Two scales with a common shift, for sums of two values of 8 bits, at 21 bits:
//     floor(((a - a_zero) * a_multiplier + (b - b_zero) * b_multiplier) / 2^shift + 1/2)
// stays below 2^31 at every step.
struct DyadicPair {
  int32_t a_multiplier = 0;  // magnitudes at most 2^21
  int32_t b_multiplier = 0;
  int32_t shift = 1;  // [1, 30]
};
DyadicPair make_dyadic_pair(double a_scale, double b_scale);

}  // namespace bitsmith
