#include "codecs/int_fit.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "codecs/int_measure.h"

namespace bitsmith {
namespace {

constexpr float kLargestF16 = 65504.0F;
// Beyond it, levels of binary32 might overflow.
constexpr float kLargestRange = 1e38F;
// The narrowest range that is tried, as a part of the plain one.
constexpr float kNarrowest = 0.2F;

Lanes filled(float x) {
  Lanes lanes;
  lanes.fill(x);
  return lanes;
}

// For x >= 0 only; written without branches so that loops over lanes become SIMD code.
//   normal: rounds the 13 lowest bits of the mantissa away
//   below 2^-14: the sum with 0.5 has a spacing of 2^-24, that of the subnormal binary16
inline float round_magnitude(float x) {
  const float clamped = x < kLargestF16 ? x : kLargestF16;
  const uint32_t u = std::bit_cast<uint32_t>(clamped);
  const float normal = std::bit_cast<float>((u + 0xfffu + ((u >> 13) & 1u)) & ~0x1fffu);
  const float subnormal = (clamped + 0.5F) - 0.5F;
  const float rounded = clamped < 0x1.0p-14F ? subnormal : normal;
  return rounded < kLargestF16 ? rounded : kLargestF16;
}

inline float truncate_magnitude(float x) {
  const float clamped = x < kLargestF16 ? x : kLargestF16;
  const uint32_t u = std::bit_cast<uint32_t>(clamped);
  const float normal = std::bit_cast<float>(u & ~0x1fffu);
  const float nearest = (clamped + 0.5F) - 0.5F;
  const float subnormal = nearest > clamped ? nearest - 0x1.0p-24F : nearest;
  return clamped < 0x1.0p-14F ? subnormal : normal;
}

// Scales as they are stored. Formats of 8 bits have no sign: there, scales are not negative.
enum class Rounding { kNearest, kBelow, kAbove };

void round_scales(const IntGrid& grid, Rounding rounding, Lanes& scales) {
  switch (grid.scale_format) {
    case ScaleFormat::kF16: {
      const bool nearest = rounding == Rounding::kNearest;
      for (float& x : scales) {
        const float magnitude = std::fabs(x);
        x = std::copysign(nearest ? round_magnitude(magnitude) : truncate_magnitude(magnitude), x);
      }
      return;
    }
    case ScaleFormat::kF32: {
      const float most = kLargestRange / grid.max_code;
      for (float& x : scales) x = std::clamp(x, -most, most);
      return;
    }
    default:
      break;
  }
  // E8M0: the largest whose levels are finite.
  const uint32_t largest =
      largest_scale(grid.scale_format) -
      (grid.scale_format == ScaleFormat::kE8m0 ? static_cast<uint32_t>(grid.bits) : 0);
  for (float& x : scales) {
    uint32_t pattern = rounding == Rounding::kNearest
                           ? nearest_scale(grid.scale_format, x, grid.unit)
                           : floor_scale(grid.scale_format, x, grid.unit);
    if (rounding == Rounding::kAbove) ++pattern;
    x = decode_scale(grid.scale_format, std::min(pattern, largest), grid.unit);
  }
}

// Parameters that were tried for 16 rows, and their error.
struct Trial {
  IntParameters parameters;
  Lanes low_part = filled(1.0F);  // the part of the plain range that each end kept
  Lanes high_part = filled(1.0F);
  Lanes error{};  // Σ importance * (w - q)²
};

// Takes the rows in which `trial` has the smaller error.
void keep_better(const Trial& trial, Trial& best) {
  for (size_t r = 0; r < kLanes; ++r) {
    const bool better = trial.error[r] < best.error[r];
    const auto choose = [&](const Lanes& from, Lanes& to) { to[r] = better ? from[r] : to[r]; };
    choose(trial.parameters.scale, best.parameters.scale);
    choose(trial.parameters.zero, best.parameters.zero);
    choose(trial.low_part, best.low_part);
    choose(trial.high_part, best.high_part);
    choose(trial.error, best.error);
  }
}

struct Range {
  Lanes low;
  Lanes high;
};

// The smallest and the largest weight, widened to include 0.
Range range_of(const Lanes* w, int64_t cols) {
  Range range{filled(0.0F), filled(0.0F)};
  for (int64_t c = 0; c < cols; ++c) {
    for (size_t r = 0; r < kLanes; ++r) {
      range.low[r] = w[c][r] < range.low[r] ? w[c][r] : range.low[r];
      range.high[r] = w[c][r] > range.high[r] ? w[c][r] : range.high[r];
    }
  }
  return range;
}

// The zero point that puts `low` on code 0: the nearest, a tie down, so that low * inverse + zero
// is below 1/2.
inline float zero_point(float low, float inverse, float max_code) {
  float x = -low * inverse - 0.5F;
  x = x > 0.0F ? x : 0.0F;
  x = x < max_code ? x : max_code;
  const float whole = static_cast<float>(static_cast<int32_t>(x));
  return x > whole ? whole + 1.0F : whole;
}

// The weight of largest magnitude with its sign, the first one of several.
Lanes extremes(const Lanes* w, int64_t cols) {
  Lanes extreme{};
  for (int64_t c = 0; c < cols; ++c) {
    for (size_t r = 0; r < kLanes; ++r) {
      extreme[r] = std::fabs(w[c][r]) > std::fabs(extreme[r]) ? w[c][r] : extreme[r];
    }
  }
  return extreme;
}

// The parameters of a scale that is rounded; asymmetric: with `low` on code 0.
IntParameters with_scale(const IntGrid& grid, Lanes scale, Rounding rounding, const Lanes& low) {
  IntParameters p{scale, filled(grid.symmetric_zero)};
  round_scales(grid, rounding, p.scale);
  if (grid.symmetric) return p;
  for (size_t r = 0; r < kLanes; ++r) {
    p.zero[r] = zero_point(low[r], inverse_scale(p.scale[r]), grid.max_code);
  }
  return p;
}

IntParameters fit_one_bit_symmetric(const IntGrid& grid, const Lanes* w, int64_t cols,
                                    const float* importance) {
  std::array<double, kLanes> sum{};
  double weights = 0;
  for (int64_t c = 0; c < cols; ++c) {
    const double weight = importance != nullptr ? static_cast<double>(importance[c]) : 1.0;
    weights += weight;
    for (size_t r = 0; r < kLanes; ++r) sum[r] += weight * static_cast<double>(std::fabs(w[c][r]));
  }
  if (!(weights > 0)) {
    return importance != nullptr ? fit_one_bit_symmetric(grid, w, cols, nullptr)
                                 : IntParameters{filled(0.0F), filled(0.5F)};
  }
  Lanes scale;
  for (size_t r = 0; r < kLanes; ++r) {
    scale[r] =
        static_cast<float>(std::min(2.0 * sum[r] / weights, static_cast<double>(kLargestRange)));
  }
  return with_scale(grid, scale, Rounding::kNearest, {});
}

// A group under search.
struct Group {
  const IntGrid& grid;
  const Lanes* w;  // [cols]
  int64_t cols;
  const float* importance;  // [cols] or nullptr

  void measure(Trial& trial) const {
    trial.error = int_group_error(trial.parameters, grid.max_code, w, cols, importance);
  }

  IntParameters plain() const {
    const Range range = range_of(w, cols);
    Lanes scale;
    const bool fine = is_fine_scale(grid.scale_format);
    if (fine && grid.symmetric) {
      scale = extremes(w, cols);
      for (float& x : scale) x /= -grid.symmetric_zero;
    } else {
      for (size_t r = 0; r < kLanes; ++r) {
        scale[r] = widest_scale(grid, range.low[r], range.high[r]);
      }
    }
    Trial best{.parameters = with_scale(grid, scale, Rounding::kBelow, range.low)};
    if (fine) return best.parameters;
    measure(best);
    Trial above{.parameters = with_scale(grid, scale, Rounding::kAbove, range.low)};
    measure(above);
    keep_better(above, best);
    return best.parameters;
  }
};

// The scale that is best for the codes of `parameters`, Σ w k / Σ k², k = code - zero.
Lanes best_scale(const Group& group, const IntParameters& parameters) {
  Lanes wk{};
  Lanes kk{};
  for (int64_t c = 0; c < group.cols; ++c) {
    const float weight = group.importance != nullptr ? group.importance[c] : 1.0F;
    for (size_t r = 0; r < kLanes; ++r) {
      const float w = group.w[c][r];
      const float zero = parameters.zero[r];
      const float inverse = inverse_scale(parameters.scale[r]);
      const float k = nearest_int_code(w, inverse, zero, group.grid.max_code) - zero;
      wk[r] += weight * w * k;
      kk[r] += weight * k * k;
    }
  }
  const float largest = group.grid.scale_format == ScaleFormat::kF16
                            ? kLargestF16
                            : kLargestRange / group.grid.max_code;
  Lanes scale = parameters.scale;
  for (size_t r = 0; r < kLanes; ++r) {
    const float best = wk[r] / kk[r];
    const bool fits = is_fine_scale(group.grid.scale_format) ? std::fabs(best) <= largest
                                                             : best > 0.0F && std::isfinite(best);
    if (kk[r] > 0.0F && fits) scale[r] = best;
  }
  round_scales(group.grid, Rounding::kNearest, scale);
  return scale;
}

void refit_scale(const Group& group, Trial& best) {
  for (int round = 0; round < 2; ++round) {
    Trial trial = best;
    trial.parameters.scale = best_scale(group, best.parameters);
    group.measure(trial);
    keep_better(trial, best);
  }
}

// The part of the range in trial `step` of [0, steps), from `widest` towards kNarrowest.
float range_part(float widest, int step, int steps) {
  return widest + (kNarrowest - widest) * static_cast<float>(step) / static_cast<float>(steps);
}

IntParameters search_symmetric(const Group& group, int steps) {
  const IntGrid& grid = group.grid;
  const Lanes extreme = extremes(group.w, group.cols);
  Trial best{.parameters = group.plain()};
  group.measure(best);
  // The widest range lets the extreme fit on the side that has one level less.
  const float widest = grid.symmetric_zero / (grid.symmetric_zero - 1.0F);
  for (int step = 0; step < steps; ++step) {
    const float part = range_part(widest, step, steps) / grid.symmetric_zero;
    for (const float sign : {-1.0F, 1.0F}) {
      if (sign < 0.0F && !is_fine_scale(grid.scale_format)) continue;
      Lanes scale;
      for (size_t r = 0; r < kLanes; ++r) scale[r] = sign * std::fabs(extreme[r]) * part;
      Trial trial{.parameters = with_scale(grid, scale, Rounding::kNearest, {})};
      group.measure(trial);
      keep_better(trial, best);
    }
  }
  refit_scale(group, best);
  return best.parameters;
}

IntParameters search_asymmetric(const Group& group, int steps) {
  const IntGrid& grid = group.grid;
  const Range range = range_of(group.w, group.cols);
  Trial best{.parameters = group.plain()};
  group.measure(best);
  enum Pass { kBothEnds, kLowEnd, kHighEnd };
  for (const Pass pass : {kBothEnds, kLowEnd, kHighEnd}) {
    const Trial start = best;
    for (int step = 1; step <= steps; ++step) {
      const float part = range_part(1.0F, step, steps);
      Trial trial;
      trial.low_part = pass == kHighEnd ? start.low_part : filled(part);
      trial.high_part = pass == kLowEnd ? start.high_part : filled(part);
      Lanes low;
      Lanes scale;
      for (size_t r = 0; r < kLanes; ++r) {
        low[r] = range.low[r] * trial.low_part[r];
        scale[r] = widest_scale(grid, low[r], range.high[r] * trial.high_part[r]);
      }
      trial.parameters = with_scale(grid, scale, Rounding::kNearest, low);
      group.measure(trial);
      keep_better(trial, best);
    }
  }
  refit_scale(group, best);
  return best.parameters;
}

}  // namespace

float round_to_f16(float x) { return std::copysign(round_magnitude(std::fabs(x)), x); }
float truncate_to_f16(float x) { return std::copysign(truncate_magnitude(std::fabs(x)), x); }

float widest_scale(const IntGrid& grid, float low, float high) {
  if (!grid.symmetric) {
    const float range = high - low;
    return (range < kLargestRange ? range : kLargestRange) / grid.max_code;
  }
  const float scale =
      std::max(high / (grid.max_code - grid.symmetric_zero), -low / grid.symmetric_zero);
  return std::min(scale, kLargestRange / grid.max_code);
}

IntParameters fit_int_tile(const IntGrid& grid, const Lanes* w, int64_t cols,
                           const FitOptions& fit) {
  const bool search = fit.search_steps > 0;
  if (grid.symmetric && grid.bits == 1) {
    return fit_one_bit_symmetric(grid, w, cols, search ? fit.importance : nullptr);
  }
  const Group group{grid, w, cols, fit.importance};
  if (!search) return group.plain();
  return grid.symmetric ? search_symmetric(group, fit.search_steps)
                        : search_asymmetric(group, fit.search_steps);
}

}  // namespace bitsmith
