#include "codecs/trellis_viterbi.h"

#include <algorithm>
#include <limits>

#include "core/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codecs/trellis_viterbi.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitsmith::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kCount = size_t{1} << 16;

// A step of kBits bits, followed by one of kNext, for all states s = j * 2^(16 - kNext) + g, whose
// cost is
//     before[s >> kBits] + weight * (x - values[s])²
// least[g] = the least over j, from[g] = the first such j.
template <int kBits, int kNext>
void step_of(const float* HWY_RESTRICT before, const float* HWY_RESTRICT values, float x,
             float weight, float* HWY_RESTRICT least, uint8_t* HWY_RESTRICT from) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  HWY_ALIGN int32_t lanes[hn::MaxLanes(d)];
  for (size_t i = 0; i < hn::Lanes(d); ++i) lanes[i] = static_cast<int32_t>(i >> kBits);
  const auto spread = hn::SetTableIndices(d, lanes);
  const auto vx = hn::Set(d, x);
  const auto vw = hn::Set(d, weight);
  const auto cost = [&](size_t s) HWY_ATTR {
    const auto base = hn::TableLookupLanes(hn::LoadU(d, before + (s >> kBits)), spread);
    const auto difference = hn::Sub(vx, hn::LoadU(d, values + s));
    return hn::MulAdd(hn::Mul(difference, vw), difference, base);
  };
  constexpr size_t kGroups = kCount >> kNext;
  for (size_t g = 0; g < kGroups; g += hn::Lanes(d)) {
    auto best = cost(g);
    auto which = hn::Zero(di);
    for (int j = 1; j < 1 << kNext; ++j) {
      const auto other = cost(static_cast<size_t>(j) * kGroups + g);
      const auto less = hn::Lt(other, best);
      best = hn::IfThenElse(less, other, best);
      which = hn::IfThenElse(hn::RebindMask(di, less), hn::Set(di, j), which);
    }
    hn::StoreU(best, d, least + g);
    hn::StoreU(hn::DemoteTo(d8, which), d8, from + g);
  }
}

void trellis_step(int bits, int next, const float* before, const float* values, float x,
                  float weight, float* least, uint8_t* from) {
  using Step = decltype(&step_of<1, 1>);
  constexpr Step kSteps[4][3] = {{nullptr, &step_of<1, 1>, &step_of<1, 2>},
                                 {&step_of<2, 1>, &step_of<2, 2>, &step_of<2, 3>},
                                 {&step_of<3, 2>, &step_of<3, 3>, &step_of<3, 4>},
                                 {&step_of<4, 3>, &step_of<4, 4>, nullptr}};
  kSteps[bits - 1][next - bits + 1](before, values, x, weight, least, from);
}

}  // namespace bitsmith::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(trellis_step);

namespace {
constexpr size_t kStates = size_t{1} << kTrellisStateBits;
constexpr size_t kPadding = 64;  // a vector may read beyond the last group
}  // namespace

TrellisSearch::TrellisSearch(TrellisRate rate, const std::vector<float>& values)
    : rate_(rate),
      values_(values),
      before_((kStates >> rate.least_step()) + kPadding),
      least_(before_.size()) {
  BITSMITH_ASSERT(rate.quarters >= 4 && rate.quarters <= 16 && values.size() == kStates);
}

void TrellisSearch::path(const float* x, const float* weights, int64_t n, int64_t first,
                         int overlap, uint16_t* states) {
  const size_t most_groups = kStates >> rate_.least_step();
  // Of the path's step t, counted around the closed string.
  const auto bits = [&](int64_t t) { return rate_.step((first + t) % n); };
  from_.resize(static_cast<size_t>(n) * most_groups);
  std::fill(before_.begin(), before_.end(),
            overlap == kFree ? 0.0F : std::numeric_limits<float>::infinity());
  if (overlap != kFree) before_[static_cast<size_t>(overlap)] = 0;
  for (int64_t t = 0; t < n; ++t) {
    HWY_DYNAMIC_DISPATCH(trellis_step)
    (bits(t), bits(t + 1), before_.data(), values_.data(), x[t],
     weights != nullptr ? weights[t] : 1.0F, least_.data(),
     from_.data() + static_cast<size_t>(t) * most_groups);
    std::swap(before_, least_);
  }
  // The best state of step t with the low bits `group`.
  const auto state = [&](int64_t t, size_t group) {
    return from_[static_cast<size_t>(t) * most_groups + group] * (kStates >> bits(t + 1)) + group;
  };
  size_t last = state(n - 1, static_cast<size_t>(std::max(overlap, 0)));
  if (overlap == kFree) {
    float least = before_[0];
    for (size_t group = 1; group < kStates >> bits(n); ++group) {
      const size_t other = state(n - 1, group);
      if (before_[group] > least || (before_[group] == least && other > last)) continue;
      least = before_[group];
      last = other;
    }
  }
  for (int64_t t = n - 1; t >= 0; --t) {
    states[t] = static_cast<uint16_t>(last);
    if (t > 0) last = state(t - 1, last >> bits(t));
  }
}

void TrellisSearch::closed_path(const float* x, const float* weights, int64_t n, uint16_t* states) {
  BITSMITH_ASSERT(n % 4 == 0 && rate_.begin(n) >= kTrellisStateBits);
  // One cut, opposite to the ends, is as good as several where most of the path is far from both.
  const int64_t cuts = rate_.begin(n) < 8 * kTrellisStateBits ? std::min<int64_t>(n - 1, 15) : 1;
  std::vector<float> turned(static_cast<size_t>(n));
  std::vector<float> turned_weights(weights != nullptr ? turned.size() : 0);
  std::vector<uint16_t> trial(turned.size());
  double least = std::numeric_limits<double>::infinity();
  for (int64_t cut = 1; cut <= cuts; ++cut) {
    const int64_t first = cut * n / (cuts + 1);
    std::rotate_copy(x, x + first, x + n, turned.begin());
    if (weights != nullptr) {
      std::rotate_copy(weights, weights + first, weights + n, turned_weights.begin());
    }
    path(turned.data(), weights != nullptr ? turned_weights.data() : nullptr, n, first, kFree,
         trial.data());
    // What the state before column 0 shares with that of column 0.
    const int overlap = trial[static_cast<size_t>(n - 1 - first)] &
                        static_cast<int>((kStates >> rate_.step(0)) - 1);
    path(x, weights, n, 0, overlap, trial.data());
    double error = 0;
    for (int64_t t = 0; t < n && cuts > 1; ++t) {
      const double difference =
          static_cast<double>(x[t]) - static_cast<double>(values_[trial[static_cast<size_t>(t)]]);
      error +=
          (weights != nullptr ? static_cast<double>(weights[t]) : 1.0) * difference * difference;
    }
    if (error < least) {
      least = error;
      std::ranges::copy(trial, states);
    }
  }
}

}  // namespace bitsmith
#endif  // HWY_ONCE
