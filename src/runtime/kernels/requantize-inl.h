// The rule of dyadic.h on vectors.

#if defined(BITSMITH_REQUANTIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITSMITH_REQUANTIZE_INL_H_
#undef BITSMITH_REQUANTIZE_INL_H_
#else
#define BITSMITH_REQUANTIZE_INL_H_
#endif

#include <limits>

#include "runtime/kernels/dot-inl.h"
#include "runtime/kernels/requantization.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

// floor(a * b / 2^32) of each lane.
HWY_INLINE Ints multiply_high(Ints a, Ints b) {
  const IntsTag di;
  const hn::Repartition<uint64_t, IntsTag> dw;
  const auto odd_of = [&](Ints v) HWY_ATTR {
    return hn::BitCast(di, hn::ShiftRight<32>(hn::BitCast(dw, v)));
  };
  const auto even = hn::BitCast(dw, hn::MulEven(a, b));
  const auto odd = hn::BitCast(di, hn::MulEven(odd_of(a), odd_of(b)));
  return hn::OddEven(odd, hn::BitCast(di, hn::ShiftRight<32>(even)));
}

// Scales of some channels, and the clamp that all channels share.
class VectorRequantizer {
 public:
  // The channels [first, first + lanes) of `to`, in its own order.
  HWY_INLINE VectorRequantizer(const Requantization& to, int64_t first)
      : multiplier_(hn::LoadU(IntsTag(), to.multipliers.data() + first)),
        shift_(hn::LoadU(IntsTag(), to.shifts.data() + first)),
        rounding_(hn::ShiftRight<1>(hn::Set(IntsTag(), 1) << shift_)),
        left_(hn::LoadU(IntsTag(), to.lefts.data() + first)),
        has_left_(to.has_left) {}

  // One scale for all lanes.
  HWY_INLINE explicit VectorRequantizer(const Dyadic& scale)
      : multiplier_(hn::Set(IntsTag(), scale.multiplier)),
        shift_(hn::Set(IntsTag(), scale.shift)),
        rounding_(hn::Set(IntsTag(), int32_t{1} << (scale.shift - 1))),
        left_(hn::Set(IntsTag(), scale.left)),
        has_left_(scale.left != 0) {}

  // Codes, which fit a byte, from sums.
  HWY_INLINE Ints operator()(Ints sum, const Requantization& to) const {
    return (*this)(sum, to.zero, to.min, to.max);
  }
  HWY_INLINE Ints operator()(Ints sum, int32_t zero, int32_t min, int32_t max) const {
    const IntsTag di;
    if (HWY_UNLIKELY(has_left_)) {
      const Ints limit = hn::Set(di, std::numeric_limits<int32_t>::max()) >> left_;
      sum = hn::Min(hn::Max(sum, hn::Neg(limit)), limit) << left_;
    }
    const Ints scaled = hn::Add(multiply_high(sum, multiplier_), rounding_) >> shift_;
    const Ints code = hn::Add(scaled, hn::Set(di, zero));
    return hn::Min(hn::Max(code, hn::Set(di, min)), hn::Set(di, max));
  }

 private:
  Ints multiplier_;
  Ints shift_;
  Ints rounding_;
  Ints left_;
  bool has_left_;
};

// Writes the first `count` of a vector of codes.
HWY_INLINE void store_codes(Ints codes, uint8_t* HWY_RESTRICT to, int64_t count) {
  const hn::Rebind<uint8_t, IntsTag> d8;
  const auto bytes = hn::DemoteTo(d8, codes);
  if (HWY_LIKELY(count >= static_cast<int64_t>(kPartRows))) {
    hn::StoreU(bytes, d8, to);
  } else {
    HWY_ALIGN uint8_t all[kPartRows];
    hn::StoreU(bytes, d8, all);
    std::memcpy(to, all, static_cast<size_t>(count));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_REQUANTIZE_INL_H_
