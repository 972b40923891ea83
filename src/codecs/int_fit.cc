#include "codecs/int_fit.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "codecs/int_measure.h"

namespace bitsmith {
namespace {

constexpr float kLargestF16 = 65504.0F;
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

IntParameters plain_asymmetric(const IntGrid& grid, const Range& range) {
  IntParameters p;
  for (size_t r = 0; r < kLanes; ++r) {
    p.scale[r] = truncate_magnitude((range.high[r] - range.low[r]) / grid.max_code);
    p.zero[r] = zero_point(range.low[r], inverse_scale(p.scale[r]), grid.max_code);
  }
  return p;
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

IntParameters plain_symmetric(const IntGrid& grid, const Lanes& extreme) {
  IntParameters p;
  for (size_t r = 0; r < kLanes; ++r) {
    p.scale[r] = truncate_to_f16(extreme[r] / -grid.symmetric_zero);
    p.zero[r] = grid.symmetric_zero;
  }
  return p;
}

IntParameters fit_one_bit_symmetric(const Lanes* w, int64_t cols, const float* importance) {
  std::array<double, kLanes> sum{};
  double weights = 0;
  for (int64_t c = 0; c < cols; ++c) {
    const double weight = importance != nullptr ? static_cast<double>(importance[c]) : 1.0;
    weights += weight;
    for (size_t r = 0; r < kLanes; ++r) sum[r] += weight * static_cast<double>(std::fabs(w[c][r]));
  }
  if (!(weights > 0)) {
    return importance != nullptr ? fit_one_bit_symmetric(w, cols, nullptr)
                                 : IntParameters{filled(0.0F), filled(0.5F)};
  }
  IntParameters p;
  p.zero = filled(0.5F);
  for (size_t r = 0; r < kLanes; ++r) {
    const double scale = std::min(2.0 * sum[r] / weights, static_cast<double>(kLargestF16));
    p.scale[r] = round_magnitude(static_cast<float>(scale));
  }
  return p;
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
  Lanes scale = parameters.scale;
  for (size_t r = 0; r < kLanes; ++r) {
    const float best = wk[r] / kk[r];
    if (kk[r] > 0.0F && std::fabs(best) <= kLargestF16) scale[r] = round_to_f16(best);
  }
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

IntParameters search_symmetric(const Group& group, int steps, const IntParameters& plain) {
  const IntGrid& grid = group.grid;
  const Lanes extreme = extremes(group.w, group.cols);
  Trial best{.parameters = plain};
  group.measure(best);
  // The widest range lets the extreme fit on the side that has one level less.
  const float widest = grid.symmetric_zero / (grid.symmetric_zero - 1.0F);
  for (int step = 0; step < steps; ++step) {
    const float part = range_part(widest, step, steps) / grid.symmetric_zero;
    for (const float sign : {-1.0F, 1.0F}) {
      Trial trial{.parameters = plain};
      for (size_t r = 0; r < kLanes; ++r) {
        trial.parameters.scale[r] = sign * round_magnitude(std::fabs(extreme[r]) * part);
      }
      group.measure(trial);
      keep_better(trial, best);
    }
  }
  refit_scale(group, best);
  return best.parameters;
}

IntParameters search_asymmetric(const Group& group, int steps, const IntParameters& plain) {
  const IntGrid& grid = group.grid;
  const Range range = range_of(group.w, group.cols);
  Trial best{.parameters = plain};
  group.measure(best);
  enum Pass { kBothEnds, kLowEnd, kHighEnd };
  for (const Pass pass : {kBothEnds, kLowEnd, kHighEnd}) {
    const Trial start = best;
    for (int step = 1; step <= steps; ++step) {
      const float part = range_part(1.0F, step, steps);
      Trial trial;
      trial.low_part = pass == kHighEnd ? start.low_part : filled(part);
      trial.high_part = pass == kLowEnd ? start.high_part : filled(part);
      for (size_t r = 0; r < kLanes; ++r) {
        const float low = range.low[r] * trial.low_part[r];
        const float high = range.high[r] * trial.high_part[r];
        const float scale = round_magnitude((high - low) / grid.max_code);
        trial.parameters.scale[r] = scale;
        trial.parameters.zero[r] = zero_point(low, inverse_scale(scale), grid.max_code);
      }
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

IntParameters fit_int_tile(const IntGrid& grid, const Lanes* w, int64_t cols,
                           const FitOptions& fit) {
  const bool search = fit.search_steps > 0;
  if (grid.symmetric && grid.bits == 1) {
    return fit_one_bit_symmetric(w, cols, search ? fit.importance : nullptr);
  }
  const Group group{grid, w, cols, fit.importance};
  if (grid.symmetric) {
    const IntParameters plain = plain_symmetric(grid, extremes(w, cols));
    return search ? search_symmetric(group, fit.search_steps, plain) : plain;
  }
  const IntParameters plain = plain_asymmetric(grid, range_of(w, cols));
  return search ? search_asymmetric(group, fit.search_steps, plain) : plain;
}

}  // namespace bitsmith
