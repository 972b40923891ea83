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

// least[g] = min over j of cost[j * 2^(16-bits) + g], from[g] = the first such j.
void trellis_reduce(int bits, const float* cost, float* least, uint8_t* from) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const size_t groups = kCount >> bits;
  for (size_t g = 0; g < groups; g += hn::Lanes(d)) {
    auto best = hn::LoadU(d, cost + g);
    auto which = hn::Zero(di);
    for (int j = 1; j < 1 << bits; ++j) {
      const auto other = hn::LoadU(d, cost + static_cast<size_t>(j) * groups + g);
      const auto less = hn::Lt(other, best);
      best = hn::IfThenElse(less, other, best);
      which = hn::IfThenElse(hn::RebindMask(di, less), hn::Set(di, j), which);
    }
    hn::StoreU(best, d, least + g);
    hn::StoreU(hn::DemoteTo(d8, which), d8, from + g);
  }
}

// cost[s] = least[s >> bits] + weight * (x - values[s])²
void trellis_extend(int bits, const float* least, const float* values, float x, float weight,
                    float* cost) {
  const hn::ScalableTag<float> d;
  HWY_ALIGN int32_t lanes[hn::MaxLanes(d)];
  for (size_t i = 0; i < hn::Lanes(d); ++i) lanes[i] = static_cast<int32_t>(i >> bits);
  const auto spread = hn::SetTableIndices(d, lanes);
  const auto vx = hn::Set(d, x);
  const auto vw = hn::Set(d, weight);
  for (size_t s = 0; s < kCount; s += hn::Lanes(d)) {
    const auto base = hn::TableLookupLanes(hn::LoadU(d, least + (s >> bits)), spread);
    const auto difference = hn::Sub(vx, hn::LoadU(d, values + s));
    hn::StoreU(hn::MulAdd(hn::Mul(difference, vw), difference, base), d, cost + s);
  }
}

}  // namespace bitsmith::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(trellis_reduce);
HWY_EXPORT(trellis_extend);

namespace {
constexpr size_t kStates = size_t{1} << kTrellisStateBits;
constexpr size_t kPadding = 64;  // a vector may read beyond the last group
}  // namespace

TrellisSearch::TrellisSearch(int bits, const std::vector<float>& values)
    : bits_(bits), values_(values), cost_(kStates), least_((kStates >> bits) + kPadding) {
  BITSMITH_ASSERT(bits >= 1 && bits <= 4 && values.size() == kStates);
}

void TrellisSearch::path(const float* x, const float* weights, int64_t n, int overlap,
                         uint16_t* states) {
  const size_t groups = kStates >> bits_;
  const auto step = [&](int64_t t) {
    const float weight = weights != nullptr ? weights[t] : 1.0F;
    HWY_DYNAMIC_DISPATCH(trellis_extend)
    (bits_, least_.data(), values_.data(), x[t], weight, cost_.data());
  };
  from_.resize(static_cast<size_t>(n) * groups);
  std::fill(least_.begin(), least_.end(),
            overlap == kFree ? 0.0F : std::numeric_limits<float>::infinity());
  if (overlap != kFree) least_[static_cast<size_t>(overlap)] = 0;
  step(0);
  for (int64_t t = 1; t < n; ++t) {
    HWY_DYNAMIC_DISPATCH(trellis_reduce)
    (bits_, cost_.data(), least_.data(), from_.data() + static_cast<size_t>(t) * groups);
    step(t);
  }
  size_t last = 0;
  if (overlap == kFree) {
    last = static_cast<size_t>(std::min_element(cost_.begin(), cost_.end()) - cost_.begin());
  } else {
    last = static_cast<size_t>(overlap);
    for (size_t j = 1; j < size_t{1} << bits_; ++j) {
      const size_t other = j * groups + static_cast<size_t>(overlap);
      if (cost_[other] < cost_[last]) last = other;
    }
  }
  for (int64_t t = n - 1; t >= 0; --t) {
    states[t] = static_cast<uint16_t>(last);
    const size_t group = last >> bits_;
    if (t > 0) last = from_[static_cast<size_t>(t) * groups + group] * groups + group;
  }
}

void TrellisSearch::closed_path(const float* x, const float* weights, int64_t n, uint16_t* states) {
  BITSMITH_ASSERT(n * bits_ >= kTrellisStateBits);
  // One cut, opposite to the ends, is as good as several where most of the path is far from both.
  const int64_t cuts = n * bits_ < 8 * kTrellisStateBits ? std::min<int64_t>(n - 1, 15) : 1;
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
    path(turned.data(), weights != nullptr ? turned_weights.data() : nullptr, n, kFree,
         trial.data());
    // What the state before column 0 shares with that of column 0.
    const int overlap =
        trial[static_cast<size_t>(n - 1 - first)] & static_cast<int>((kStates >> bits_) - 1);
    path(x, weights, n, overlap, trial.data());
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
