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
#if HWY_TARGET == HWY_AVX3_DL  // moves and joins the halves in one instruction
  const __m512i even_products = _mm512_mul_epi32(a.raw, b.raw);
  const __m512i odd_products =
      _mm512_mul_epi32(_mm512_srli_epi64(a.raw, 32), _mm512_srli_epi64(b.raw, 32));
  return Ints{_mm512_mask_shuffle_epi32(odd_products, 0x5555, even_products, _MM_PERM_DDBB)};
#else
  const IntsTag di;
  const hn::Repartition<uint64_t, IntsTag> dw;
  const auto odd_of = [&](Ints v) HWY_ATTR {
    return hn::BitCast(di, hn::ShiftRight<32>(hn::BitCast(dw, v)));
  };
  const auto even = hn::BitCast(dw, hn::MulEven(a, b));
  const auto odd = hn::BitCast(di, hn::MulEven(odd_of(a), odd_of(b)));
  return hn::OddEven(odd, hn::BitCast(di, hn::ShiftRight<32>(even)));
#endif
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
    const Ints code = hn::Add(scaled(sum), hn::Set(di, zero));
    return hn::Min(hn::Max(code, hn::Set(di, min)), hn::Set(di, max));
  }

  // Neither shifted by the zero point nor clamped.
  HWY_INLINE Ints scaled(Ints sum) const {
    if (HWY_UNLIKELY(has_left_)) {
      const Ints limit = hn::Set(IntsTag(), std::numeric_limits<int32_t>::max()) >> left_;
      sum = hn::Min(hn::Max(sum, hn::Neg(limit)), limit) << left_;
    }
    return hn::Add(multiply_high(sum, multiplier_), rounding_) >> shift_;
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

#if HWY_TARGET == HWY_AVX3_DL

// Codes of 32 channels in a row from two vectors that are only scaled. Saturation to 16 bits leaves
// what lies outside of [min, max] outside.
HWY_INLINE __m256i code_pair(Ints a, Ints b, const Requantization& to) {
  __m512i words = _mm512_packs_epi32(a.raw, b.raw);  // by 128-bit blocks: 4 of a, 4 of b
  words = _mm512_adds_epi16(words, _mm512_set1_epi16(static_cast<int16_t>(to.zero)));
  words = _mm512_max_epi16(words, _mm512_set1_epi16(static_cast<int16_t>(to.min)));
  words = _mm512_min_epi16(words, _mm512_set1_epi16(static_cast<int16_t>(to.max)));
  // Doublewords of two codes each: 0, 1 of each block are a's, 2, 3 are b's.
  const __m512i order = _mm512_set_epi32(15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0);
  return _mm512_cvtepi16_epi8(_mm512_permutexvar_epi32(order, words));
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_REQUANTIZE_INL_H_
