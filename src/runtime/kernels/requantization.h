// From sums to codes, for all output channels of an operator: dyadic.h as tables for vectors.
#pragma once

#include <span>

#include "runtime/kernels/aligned.h"
#include "runtime/kernels/dyadic.h"

namespace bitsmith {

struct Requantization {
  Requantization() = default;
  // `count` entries, at least scales.size(); those that are missing scale by 0.
  Requantization(std::span<const Dyadic> scales, int64_t count, int32_t zero, int32_t min,
                 int32_t max);

  AlignedArray<int32_t> multipliers;
  AlignedArray<int32_t> shifts;
  AlignedArray<int32_t> lefts;
  bool has_left = false;  // one of them is not 0
  int32_t zero = 0;       // the output's zero point
  int32_t min = 0;        // what codes are clamped to
  int32_t max = 255;

  int64_t bytes() const { return multipliers.bytes() + shifts.bytes() + lefts.bytes(); }
};

inline Requantization::Requantization(std::span<const Dyadic> scales, int64_t count, int32_t zero_,
                                      int32_t min_, int32_t max_)
    : multipliers(count), shifts(count), lefts(count), zero(zero_), min(min_), max(max_) {
  std::fill_n(shifts.data(), count, 1);
  for (size_t i = 0; i < scales.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    multipliers[at] = scales[i].multiplier;
    shifts[at] = scales[i].shift;
    lefts[at] = scales[i].left;
    has_left = has_left || scales[i].left != 0;
  }
}

}  // namespace bitsmith
