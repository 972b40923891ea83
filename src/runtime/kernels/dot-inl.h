// The dot product of unsigned and signed bytes, per target, on panels of 16 rows.

#if defined(BITSMITH_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITSMITH_DOT_INL_H_
#undef BITSMITH_DOT_INL_H_
#else
#define BITSMITH_DOT_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"
#include "runtime/kernels/target-inl.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A panel of 16 rows is worked on in kParts vectors: a part is 4, 8 or 16 rows, whose 16, 32 or 64
// bytes of each 64-byte vector of the panel are contiguous, 4 bytes a row.
#if HWY_TARGET == HWY_SCALAR  // vectors of one lane cannot hold a quad of bytes

using FloatsTag = hn::CappedTag<float, 16>;
using Floats = hn::Vec<FloatsTag>;
constexpr size_t kPartRows = hn::MaxLanes(FloatsTag());
constexpr size_t kPartBytes = kPartRows * 4;
constexpr size_t kParts = 16 / kPartRows;

#else

using BytesTag = hn::CappedTag<uint8_t, 64>;
using WordsTag = hn::Repartition<uint16_t, BytesTag>;
using IntsTag = hn::Repartition<int32_t, BytesTag>;
using FloatsTag = hn::Repartition<float, BytesTag>;
using Bytes = hn::Vec<BytesTag>;
using Ints = hn::Vec<IntsTag>;
using Floats = hn::Vec<FloatsTag>;
constexpr size_t kPartBytes = hn::MaxLanes(BytesTag());
constexpr size_t kPartRows = kPartBytes / 4;
constexpr size_t kParts = 64 / kPartBytes;

// Adds to each 32-bit lane the products of its 4 unsigned bytes of w, below 2^kBits, with the 4
// signed bytes of x. Exact on every target: sums of pairs of products would saturate int16 only for
// codes of 8 bits, which are therefore taken apart.
template <int kBits>
HWY_INLINE Ints dot4(Ints sum, Bytes w, Bytes x) {
#if HWY_TARGET == HWY_AVX3_DL
  return Ints{_mm512_dpbusd_epi32(sum.raw, w.raw, x.raw)};
#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  if constexpr (kBits == 8) {
    const Bytes high = hn::Set(BytesTag(), 0x80);
    sum = dot4<7>(sum, hn::AndNot(high, w), x);
    return dot4<7>(sum, hn::And(high, w), x);  // -2^15 <= 128 * x * 2 < 2^15
  } else {
#if HWY_TARGET == HWY_AVX3
    const __m512i pairs = _mm512_maddubs_epi16(w.raw, x.raw);
    return Ints{_mm512_add_epi32(sum.raw, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
#else
    const __m256i pairs = _mm256_maddubs_epi16(w.raw, x.raw);
    return Ints{_mm256_add_epi32(sum.raw, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))};
#endif
  }
#else
  const IntsTag di;
  const Ints wi = hn::BitCast(di, w);
  const Ints xi = hn::BitCast(di, x);
  const Ints byte = hn::Set(di, 0xff);
  sum = hn::Add(sum, hn::Mul(hn::And(wi, byte), hn::ShiftRight<24>(hn::ShiftLeft<24>(xi))));
  sum = hn::Add(sum, hn::Mul(hn::And(hn::ShiftRight<8>(wi), byte),
                             hn::ShiftRight<24>(hn::ShiftLeft<16>(xi))));
  sum = hn::Add(sum, hn::Mul(hn::And(hn::ShiftRight<16>(wi), byte),
                             hn::ShiftRight<24>(hn::ShiftLeft<8>(xi))));
  return hn::Add(sum, hn::Mul(hn::And(hn::ShiftRight<24>(wi), byte), hn::ShiftRight<24>(xi)));
#endif
}

// The 4 bytes at x in every lane.
HWY_INLINE Bytes load_quad(const void* x) {
  int32_t quad;
  std::memcpy(&quad, x, sizeof(quad));
  return hn::BitCast(BytesTag(), hn::Set(IntsTag(), quad));
}

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_DOT_INL_H_
