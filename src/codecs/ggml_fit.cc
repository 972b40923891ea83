#include "codecs/ggml_fit.h"

#include <algorithm>
#include <cmath>

#include "codecs/ggml_measure.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

// Larger weights saturate every format; their squares stay far below the largest float32.
constexpr float kLargestWeight = 1e9F;
constexpr float kLargestF16 = 65504.0F;
// The narrowest range that is tried, as a part of the plain one.
constexpr float kNarrowest = 0.2F;
// Rounds of coordinate descent over the factors of a block.
constexpr int kRounds = 3;
constexpr int kLargestE4M3 = 0x7e;

template <class F>
Lanes lanes_of(F f) {
  Lanes lanes;
  for (size_t r = 0; r < kLanes; ++r) lanes[r] = f(r);
  return lanes;
}

// Parameters that were tried for a block of 16 rows, and their errors. In sub-block j,
//     scale = d * factor[j],  offset = -(m * min[j])
// min[j] is -1 where the format stores the offset itself, 0 where it has none; d is 1 for E8M0 and
// the scale of the tensor for E4M3.
struct Trial {
  Lanes d{};
  Lanes m{};
  std::array<Lanes, kMaxSubBlocks> factor{};
  std::array<Lanes, kMaxSubBlocks> min{};
  std::array<Lanes, kMaxSubBlocks> error{};  // of the sub-block

  Lanes scale(size_t j) const {
    return lanes_of([&](size_t r) { return d[r] * factor[j][r]; });
  }
  Lanes offset(size_t j) const {
    return lanes_of([&](size_t r) { return -(m[r] * min[j][r]); });
  }
};

// The smallest binary16 that is at least x.
float round_up_to_f16(float x) {
  const float clamped = std::clamp(x, -kLargestF16, kLargestF16);
  const uint16_t bits = float_to_f16(clamped);
  const float rounded = f16_to_float(bits);
  if (rounded >= clamped) return rounded;
  if (rounded == 0.0F) return 0x1p-24F;  // the smallest one
  return f16_to_float(static_cast<uint16_t>(rounded > 0.0F ? bits + 1 : bits - 1));
}

// The E4M3 number nearest to x >= 0, ties up.
int nearest_e4m3(float x) {
  static const std::array<float, kLargestE4M3 + 1> kTable = [] {
    std::array<float, kLargestE4M3 + 1> table;
    for (size_t i = 0; i < table.size(); ++i) table[i] = e4m3_to_float(static_cast<uint8_t>(i));
    return table;
  }();
  const auto above = static_cast<size_t>(std::ranges::upper_bound(kTable, x) - kTable.begin());
  if (above == kTable.size()) return kLargestE4M3;
  if (above == 0) return 0;
  const bool up = x - kTable[above - 1] >= kTable[above] - x;
  return static_cast<int>(up ? above : above - 1);
}

// The same below the normal numbers rounded down: there steps are so wide that, rounded up, the
// extreme weight might not get the outermost code.
int plain_e4m3(float x) { return x < 0x1p-6F ? static_cast<int>(x * 0x1p9F) : nearest_e4m3(x); }

// 2^(e - 128)
float e8m0_scale(int e) { return std::ldexp(1.0F, e - 128); }

// Fits one block of 16 rows.
class BlockFit {
 public:
  BlockFit(const GgmlFormat& format, const LevelGrid& grid, float tensor_scale, const Lanes* w,
           const float* importance)
      : format_(format),
        grid_(grid),
        tensor_scale_(tensor_scale),
        subs_(static_cast<size_t>(format.sub_blocks())),
        symmetric_(-grid.lowest() == grid.highest()),
        weights_(w, w + format.block_cols),
        importance_(importance) {
    const bool saturates =
        format.scales == GgmlScale::kHalf || format.scales == GgmlScale::kHalfTimesFactor;
    if (saturates) {
      for (Lanes& lanes : weights_) {
        for (float& x : lanes) x = std::clamp(x, -kLargestWeight, kLargestWeight);
      }
    }
    for (size_t j = 0; j < subs_; ++j) find_extremes(j);
  }

  Trial plain() const;
  // The best parameters of a search, or `plain` where that is better.
  Trial search(const Trial& plain, int steps) const;
  std::array<GgmlHeader, kLanes> headers(const Trial& trial) const;

 private:
  SubBlock sub(size_t j) const {
    const auto begin = static_cast<int64_t>(j) * format_.sub_cols;
    return {weights_.data() + begin, format_.sub_cols,
            importance_ != nullptr ? importance_ + begin : nullptr};
  }
  void find_extremes(size_t j);
  void plain_half(Trial& trial, size_t r) const;
  void plain_factors(Trial& trial, size_t r) const;
  void plain_half_offset(Trial& trial, size_t r) const;
  void plain_factors_and_mins(Trial& trial, size_t r) const;
  void plain_small_float(Trial& trial, size_t r) const;

  void measure(Trial& trial) const {
    for (size_t j = 0; j < subs_; ++j) measure(trial, j);
  }
  void measure(Trial& trial, size_t j) const {
    trial.error[j] = {};
    add_ggml_error(grid_, sub(j), trial.scale(j), trial.offset(j), trial.error[j]);
  }
  void keep_better(const Trial& trial, Trial& best) const;
  void keep_better(const Trial& trial, Trial& best, size_t j) const;

  // What a sub-block would like best, in real numbers.
  struct Wish {
    Lanes scale{};
    Lanes offset{};
    Lanes error{};
  };
  void try_wish(size_t j, Wish& trial, Wish& best) const;
  static void keep_better(const Wish& trial, Wish& best);
  Wish wish_scale(size_t j, int steps) const;
  Wish wish_range(size_t j, int steps) const;
  void refine_wish(size_t j, Wish& best) const;
  Wish least_squares(const LevelSums& s, const Wish& wish) const;

  Trial from_wishes(const std::vector<Wish>& wishes, int shrink) const;
  void refit(Trial& best) const;
  void descend(Trial& best) const;
  void search_small_float(Trial& best) const;
  bool has_offset() const { return format_.offsets != GgmlOffset::kNone; }
  bool has_factors() const { return format_.scales == GgmlScale::kHalfTimesFactor; }

  const GgmlFormat& format_;
  const LevelGrid& grid_;
  float tensor_scale_;
  size_t subs_;
  bool symmetric_;                              // the levels
  std::vector<Lanes> weights_;                  // [block_cols]
  const float* importance_;                     // [block_cols] or nullptr
  std::array<Lanes, kMaxSubBlocks> low_{};      // smallest weight of each sub-block
  std::array<Lanes, kMaxSubBlocks> high_{};     // largest
  std::array<Lanes, kMaxSubBlocks> extreme_{};  // of largest magnitude, the first of several
};

void BlockFit::find_extremes(size_t j) {
  const SubBlock s = sub(j);
  low_[j] = high_[j] = extreme_[j] = s.w[0];
  for (int64_t c = 1; c < s.cols; ++c) {
    for (size_t r = 0; r < kLanes; ++r) {
      const float x = s.w[c][r];
      low_[j][r] = std::min(low_[j][r], x);
      high_[j][r] = std::max(high_[j][r], x);
      if (std::fabs(x) > std::fabs(extreme_[j][r])) extreme_[j][r] = x;
    }
  }
}

Trial BlockFit::plain() const {
  Trial trial;
  for (size_t r = 0; r < kLanes; ++r) {
    for (size_t j = 0; j < subs_; ++j) trial.factor[j][r] = 1.0F;
    switch (format_.scales) {
      case GgmlScale::kHalf:
        has_offset() ? plain_half_offset(trial, r) : plain_half(trial, r);
        break;
      case GgmlScale::kHalfTimesFactor:
        has_offset() ? plain_factors_and_mins(trial, r) : plain_factors(trial, r);
        break;
      case GgmlScale::kE8M0:
      case GgmlScale::kE4M3:
        plain_small_float(trial, r);
        break;
    }
  }
  return trial;
}

// One sub-block: its extreme on the lowest level.
void BlockFit::plain_half(Trial& trial, size_t r) const {
  const float scale = extreme_[0][r] / grid_.lowest();
  trial.d[r] = truncate_to_f16(symmetric_ ? std::fabs(scale) : scale);
}

// The extreme of the block on the lowest level times the least factor.
void BlockFit::plain_factors(Trial& trial, size_t r) const {
  const auto least = static_cast<float>(format_.least_factor);
  const auto largest = static_cast<float>(format_.largest_factor);
  float widest = 0.0F;
  for (size_t j = 0; j < subs_; ++j) {
    const float scale = extreme_[j][r] / grid_.lowest();
    if (std::fabs(scale) > std::fabs(widest)) widest = scale;
  }
  const float d = truncate_to_f16(widest / least);
  trial.d[r] = d;
  for (size_t j = 0; j < subs_; ++j) {
    const float factor = d != 0.0F ? std::trunc(extreme_[j][r] / grid_.lowest() / d) : 0.0F;
    trial.factor[j][r] = std::clamp(factor, least, largest);
  }
}

void BlockFit::plain_half_offset(Trial& trial, size_t r) const {
  const float offset = round_up_to_f16(low_[0][r]);
  const float range = std::max(high_[0][r] - offset, 0.0F);
  // Decoded values are rounded once: the largest may be a little below its level.
  const float slack = 0x1p-21F * std::max(std::fabs(offset), range);
  trial.m[r] = offset;
  trial.min[0][r] = -1.0F;
  trial.d[r] = range > 0.0F ? truncate_to_f16((range + slack) / grid_.max_index) : 0.0F;
}

void BlockFit::plain_factors_and_mins(Trial& trial, size_t r) const {
  const auto largest_min = static_cast<float>(format_.largest_min);
  const auto largest_factor = static_cast<float>(format_.largest_factor);
  float lowest = 0.0F;
  for (size_t j = 0; j < subs_; ++j) lowest = std::min(lowest, low_[j][r]);
  const float m = truncate_to_f16(-lowest / largest_min);
  trial.m[r] = m;
  std::array<float, kMaxSubBlocks> scale{};
  float widest = 0.0F;
  for (size_t j = 0; j < subs_; ++j) {
    const float wanted = std::max(-low_[j][r], 0.0F);
    const float min = m > 0.0F ? std::min(std::floor(wanted / m), largest_min) : 0.0F;
    trial.min[j][r] = min;
    const float range = std::max(high_[j][r] + m * min, 0.0F);
    // As above.
    const float slack = range > 0.0F ? 0x1p-21F * std::max(m * min, range) : 0.0F;
    scale[j] = (range + slack) / grid_.max_index;
    widest = std::max(widest, scale[j]);
  }
  const float d = truncate_to_f16(widest / largest_factor);
  trial.d[r] = d;
  for (size_t j = 0; j < subs_; ++j) {
    trial.factor[j][r] = d > 0.0F ? std::min(std::floor(scale[j] / d), largest_factor) : 0.0F;
  }
}

void BlockFit::plain_small_float(Trial& trial, size_t r) const {
  trial.d[r] = tensor_scale_;
  for (size_t j = 0; j < subs_; ++j) {
    const float largest = std::fabs(extreme_[j][r]);
    if (format_.scales == GgmlScale::kE8M0) {
      const int e = largest > 0.0F ? std::ilogb(largest) - 2 + 127 : 0;
      trial.factor[j][r] = e8m0_scale(std::clamp(e, 0, 254));
    } else {
      const int bits = plain_e4m3(largest / grid_.highest() / tensor_scale_);
      trial.factor[j][r] = e4m3_to_float(static_cast<uint8_t>(bits));
    }
  }
}

// Takes the rows in which the whole block of `trial` has the smaller error.
void BlockFit::keep_better(const Trial& trial, Trial& best) const {
  for (size_t r = 0; r < kLanes; ++r) {
    float old_error = 0.0F;
    float new_error = 0.0F;
    for (size_t j = 0; j < subs_; ++j) {
      old_error += best.error[j][r];
      new_error += trial.error[j][r];
    }
    if (!(new_error < old_error)) continue;
    best.d[r] = trial.d[r];
    best.m[r] = trial.m[r];
    for (size_t j = 0; j < subs_; ++j) {
      best.factor[j][r] = trial.factor[j][r];
      best.min[j][r] = trial.min[j][r];
      best.error[j][r] = trial.error[j][r];
    }
  }
}

// The same for the factors of one sub-block.
void BlockFit::keep_better(const Trial& trial, Trial& best, size_t j) const {
  for (size_t r = 0; r < kLanes; ++r) {
    if (!(trial.error[j][r] < best.error[j][r])) continue;
    best.factor[j][r] = trial.factor[j][r];
    best.min[j][r] = trial.min[j][r];
    best.error[j][r] = trial.error[j][r];
  }
}

void BlockFit::try_wish(size_t j, Wish& trial, Wish& best) const {
  trial.error = {};
  add_ggml_error(grid_, sub(j), trial.scale, trial.offset, trial.error);
  keep_better(trial, best);
}

void BlockFit::keep_better(const Wish& trial, Wish& best) {
  for (size_t r = 0; r < kLanes; ++r) {
    if (!(trial.error[r] < best.error[r])) continue;
    best.scale[r] = trial.scale[r];
    best.offset[r] = trial.offset[r];
    best.error[r] = trial.error[r];
  }
}

// The scale of a sub-block without offset: from the one whose highest level is the extreme, or its
// mirror image if the levels are not symmetric, downwards.
BlockFit::Wish BlockFit::wish_scale(size_t j, int steps) const {
  const float widest = 1.0F / grid_.highest();
  const float narrowest = -kNarrowest / grid_.lowest();
  Wish best;
  best.error.fill(HUGE_VALF);
  for (int step = 0; step < steps; ++step) {
    const float part =
        widest + (narrowest - widest) * static_cast<float>(step) / static_cast<float>(steps);
    for (const float sign : {1.0F, -1.0F}) {
      if (sign < 0.0F && symmetric_) continue;
      Wish trial;
      trial.scale = lanes_of([&](size_t r) { return sign * part * std::fabs(extreme_[j][r]); });
      try_wish(j, trial, best);
    }
  }
  refine_wish(j, best);
  return best;
}

// Scale and offset of a sub-block: both ends of its range towards the middle, then each end alone;
// each range also with the scale and offset that are best for its codes.
BlockFit::Wish BlockFit::wish_range(size_t j, int steps) const {
  const bool below_zero = format_.offsets == GgmlOffset::kMinusHalfTimesMin;
  const auto range = [&](const Lanes& low_part, const Lanes& high_part) {
    Wish wish;
    for (size_t r = 0; r < kLanes; ++r) {
      const float low = below_zero ? std::min(low_[j][r], 0.0F) : low_[j][r];
      const float high = std::max(high_[j][r], low);
      const float middle = 0.5F * (low + high);
      float offset = middle + (low - middle) * low_part[r];
      if (below_zero) offset = std::min(offset, 0.0F);
      wish.offset[r] = offset;
      wish.scale[r] = (middle + (high - middle) * high_part[r] - offset) / grid_.max_index;
    }
    return wish;
  };
  Lanes low_part;
  low_part.fill(1.0F);
  Lanes high_part = low_part;
  Wish best_range;  // whose parts are the above
  best_range.error.fill(HUGE_VALF);
  Wish best = best_range;
  for (const int pass : {0, 1, 2}) {
    const Lanes start_low = low_part;
    const Lanes start_high = high_part;
    for (int step = 0; step < steps; ++step) {
      const float part =
          1.0F + (kNarrowest - 1.0F) * static_cast<float>(step) / static_cast<float>(steps);
      Lanes parts;
      parts.fill(part);
      const Lanes& low = pass == 2 ? start_low : parts;
      const Lanes& high = pass == 1 ? start_high : parts;
      const Lanes before = best_range.error;
      Wish trial = range(low, high);
      const LevelSums sums = ggml_level_sums(grid_, sub(j), trial.scale, trial.offset);
      trial.error = sums.error;
      keep_better(trial, best_range);
      for (size_t r = 0; r < kLanes; ++r) {
        if (!(best_range.error[r] < before[r])) continue;
        low_part[r] = low[r];
        high_part[r] = high[r];
      }
      Wish refined = least_squares(sums, trial);
      try_wish(j, refined, best);
    }
  }
  keep_better(best_range, best);
  refine_wish(j, best);
  return best;
}

// Twice least squares from the best.
void BlockFit::refine_wish(size_t j, Wish& best) const {
  for (int round = 0; round < 2; ++round) {
    Wish trial = least_squares(ggml_level_sums(grid_, sub(j), best.scale, best.offset), best);
    try_wish(j, trial, best);
  }
}

// The scale and offset that are best for the codes that `wish` gives, whose sums are s.
BlockFit::Wish BlockFit::least_squares(const LevelSums& s, const Wish& wish) const {
  Wish better = wish;
  for (size_t r = 0; r < kLanes; ++r) {
    float scale = s.level_weight[r] / s.level_level[r];
    float offset = 0.0F;
    const float det = s.one[r] * s.level_level[r] - s.level[r] * s.level[r];
    if (has_offset() && det > 0.0F) {
      const float o = (s.level_level[r] * s.weight[r] - s.level[r] * s.level_weight[r]) / det;
      if (format_.offsets == GgmlOffset::kHalf || o <= 0.0F) {
        offset = o;
        scale = (s.one[r] * s.level_weight[r] - s.level[r] * s.weight[r]) / det;
      }
    }
    const bool usable = std::isfinite(scale) && std::isfinite(offset) &&
                        (!has_offset() || (scale > 0.0F && det > 0.0F));
    if (!usable) continue;
    better.scale[r] = scale;
    better.offset[r] = offset;
  }
  return better;
}

// Rounds wishes to what the format can store. shrink: the widest sub-block gets its outermost
// factor less this much, so that d takes several values.
Trial BlockFit::from_wishes(const std::vector<Wish>& wishes, int shrink) const {
  Trial trial;
  const auto least = static_cast<float>(format_.least_factor);
  const auto largest = static_cast<float>(format_.largest_factor);
  const auto largest_min = static_cast<float>(format_.largest_min);
  for (size_t r = 0; r < kLanes; ++r) {
    float widest = 0.0F;
    float lowest = 0.0F;
    for (size_t j = 0; j < subs_; ++j) {
      const float scale = wishes[j].scale[r];
      if (std::fabs(scale) > std::fabs(widest)) widest = scale;
      lowest = std::min(lowest, wishes[j].offset[r]);
    }
    // The outermost factor: the least one, which reaches one further, or the largest.
    const float outermost =
        least < 0.0F ? least + static_cast<float>(shrink) : largest - static_cast<float>(shrink);
    trial.d[r] = round_to_f16(has_factors() ? widest / outermost : widest);
    const bool factor_mins = format_.offsets == GgmlOffset::kMinusHalfTimesMin;
    if (factor_mins) trial.m[r] = round_to_f16(-lowest / largest_min);
    if (format_.offsets == GgmlOffset::kHalf) trial.m[r] = round_to_f16(wishes[0].offset[r]);
    for (size_t j = 0; j < subs_; ++j) {
      const float factor = std::nearbyint(wishes[j].scale[r] * inverse_scale(trial.d[r]));
      const float min = std::nearbyint(-wishes[j].offset[r] * inverse_scale(trial.m[r]));
      trial.factor[j][r] = has_factors() ? std::clamp(factor, least, largest) : 1.0F;
      trial.min[j][r] = factor_mins    ? std::clamp(min, 0.0F, largest_min)
                        : has_offset() ? -1.0F
                                       : 0.0F;
    }
  }
  return trial;
}

// Least squares for d and m with codes and factors as they are.
void BlockFit::refit(Trial& best) const {
  std::array<double, kLanes> xx{}, xy{}, yy{}, xw{}, yw{};
  for (size_t j = 0; j < subs_; ++j) {
    const LevelSums s = ggml_level_sums(grid_, sub(j), best.scale(j), best.offset(j));
    for (size_t r = 0; r < kLanes; ++r) {
      const auto k = static_cast<double>(best.factor[j][r]);
      const auto n = -static_cast<double>(best.min[j][r]);
      xx[r] += k * k * static_cast<double>(s.level_level[r]);
      xy[r] += k * n * static_cast<double>(s.level[r]);
      yy[r] += n * n * static_cast<double>(s.one[r]);
      xw[r] += k * static_cast<double>(s.level_weight[r]);
      yw[r] += n * static_cast<double>(s.weight[r]);
    }
  }
  Trial trial = best;
  for (size_t r = 0; r < kLanes; ++r) {
    const double det = xx[r] * yy[r] - xy[r] * xy[r];
    double d = xw[r] / xx[r];
    double m = static_cast<double>(best.m[r]);
    if (has_offset() && det > 0) {
      d = (yy[r] * xw[r] - xy[r] * yw[r]) / det;
      m = (xx[r] * yw[r] - xy[r] * xw[r]) / det;
    }
    const bool usable = std::isfinite(d) && std::isfinite(m) && (!has_offset() || d > 0) &&
                        (format_.offsets != GgmlOffset::kMinusHalfTimesMin || m >= 0);
    if (!usable) continue;
    trial.d[r] = round_to_f16(static_cast<float>(d));
    trial.m[r] = round_to_f16(static_cast<float>(m));
  }
  measure(trial);
  keep_better(trial, best);
}

// Moves the factors of each sub-block by one while that helps.
void BlockFit::descend(Trial& best) const {
  const auto least = static_cast<float>(format_.least_factor);
  const auto largest = static_cast<float>(format_.largest_factor);
  const auto largest_min = static_cast<float>(format_.largest_min);
  for (size_t j = 0; j < subs_; ++j) {
    for (const float min_step : {0.0F, -1.0F, 1.0F}) {
      if (min_step != 0.0F && format_.offsets != GgmlOffset::kMinusHalfTimesMin) continue;
      for (const float factor_step : {0.0F, -1.0F, 1.0F}) {
        if (min_step == 0.0F && factor_step == 0.0F) continue;
        Lanes factor;
        Lanes min = best.min[j];
        Lanes scale;
        Lanes offset;
        for (size_t r = 0; r < kLanes; ++r) {
          factor[r] = std::clamp(best.factor[j][r] + factor_step, least, largest);
          if (min_step != 0.0F) min[r] = std::clamp(min[r] + min_step, 0.0F, largest_min);
          scale[r] = best.d[r] * factor[r];
          offset[r] = -(best.m[r] * min[r]);
        }
        Lanes error{};
        add_ggml_error(grid_, sub(j), scale, offset, error);
        for (size_t r = 0; r < kLanes; ++r) {
          if (!(error[r] < best.error[j][r])) continue;
          best.factor[j][r] = factor[r];
          best.min[j][r] = min[r];
          best.error[j][r] = error[r];
        }
      }
    }
  }
}

void BlockFit::search_small_float(Trial& best) const {
  const Trial start = best;
  const bool e8m0 = format_.scales == GgmlScale::kE8M0;
  // E4M3 has 8 numbers to the octave: from 1.5 times the plain scale, where the extreme is on the
  // last level but one, down to two thirds of it.
  const int down = e8m0 ? -1 : -5;
  const int up = e8m0 ? 1 : 5;
  for (size_t j = 0; j < subs_; ++j) {
    for (int step = down; step <= up; ++step) {
      Trial trial = best;
      trial.factor[j] = lanes_of([&](size_t r) {
        const float plain = start.factor[j][r];
        if (e8m0) return e8m0_scale(std::clamp(std::ilogb(plain) + 128 + step, 0, 254));
        const int bits = std::clamp(nearest_e4m3(plain) + step, 0, kLargestE4M3);
        return e4m3_to_float(static_cast<uint8_t>(bits));
      });
      measure(trial, j);
      keep_better(trial, best, j);
    }
  }
}

Trial BlockFit::search(const Trial& plain, int steps) const {
  Trial best = plain;
  measure(best);
  if (!has_factors() && format_.scales != GgmlScale::kHalf) {
    search_small_float(best);
    return best;
  }
  std::vector<Wish> wishes;
  for (size_t j = 0; j < subs_; ++j) {
    wishes.push_back(has_offset() ? wish_range(j, steps) : wish_scale(j, steps));
  }
  const int trials = has_factors() ? 4 : 1;
  for (int shrink = 0; shrink < trials; ++shrink) {
    Trial trial = from_wishes(wishes, shrink);
    measure(trial);
    keep_better(trial, best);
  }
  for (int round = 0; round < kRounds; ++round) {
    if (has_factors()) descend(best);
    refit(best);
  }
  return best;
}

std::array<GgmlHeader, kLanes> BlockFit::headers(const Trial& trial) const {
  std::array<GgmlHeader, kLanes> headers;
  for (size_t r = 0; r < kLanes; ++r) {
    GgmlHeader& header = headers[r];
    if (has_factors() || format_.scales == GgmlScale::kHalf) header.d = float_to_f16(trial.d[r]);
    header.m = float_to_f16(trial.m[r]);
    for (size_t j = 0; j < subs_; ++j) {
      const float factor = trial.factor[j][r];
      header.scale[j] =
          static_cast<int16_t>(format_.scales == GgmlScale::kE8M0   ? std::ilogb(factor) + 128
                               : format_.scales == GgmlScale::kE4M3 ? nearest_e4m3(factor)
                                                                    : static_cast<int>(factor));
      header.min[j] = static_cast<uint8_t>(std::max(trial.min[j][r], 0.0F));
    }
  }
  return headers;
}

}  // namespace

std::array<GgmlHeader, kLanes> fit_ggml_tile(const GgmlFormat& format, const LevelGrid& grid,
                                             float tensor_scale, const Lanes* w,
                                             const FitOptions& fit) {
  const BlockFit block(format, grid, tensor_scale, w, fit.importance);
  const Trial plain = block.plain();
  return block.headers(fit.search_steps > 0 ? block.search(plain, fit.search_steps) : plain);
}

}  // namespace bitsmith
