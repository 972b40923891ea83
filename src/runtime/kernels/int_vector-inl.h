// Vector primitives of the codec `int`, per target: unpacking planes, the byte dot product, zeros.

#if defined(BITSMITH_INT_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITSMITH_INT_VECTOR_INL_H_
#undef BITSMITH_INT_VECTOR_INL_H_
#else
#define BITSMITH_INT_VECTOR_INL_H_
#endif

#include <cstring>

#include "codecs/int_layout.h"
#include "hwy/highway.h"
#include "runtime/kernels/target-inl.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A panel is worked on in kParts vectors: a part is 4, 8 or 16 rows, whose 16, 32 or 64 bytes of
// each 64-byte vector of the layout are contiguous.
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
// signed bytes of x, in [-127, 127]. Exact on every target: sums of pairs of products would
// saturate int16 only for codes of 8 bits, which are therefore taken apart.
template <int kBits>
HWY_INLINE Ints dot4(Ints sum, Bytes w, Bytes x) {
#if HWY_TARGET == HWY_AVX3_DL
  return Ints{_mm512_dpbusd_epi32(sum.raw, w.raw, x.raw)};
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR
  if constexpr (kBits == 8) {
    const Bytes high = hn::Set(BytesTag(), 0x80);
    sum = dot4<7>(sum, hn::AndNot(high, w), x);
    return dot4<7>(sum, hn::And(high, w), x);  // 128 * 127 * 2 < 2^15
  } else {
#if HWY_TARGET == HWY_AVX3
    const __m512i pairs = _mm512_maddubs_epi16(w.raw, x.raw);
    return Ints{_mm512_add_epi32(sum.raw, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
#elif HWY_TARGET == HWY_AVX2
    const __m256i pairs = _mm256_maddubs_epi16(w.raw, x.raw);
    return Ints{_mm256_add_epi32(sum.raw, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))};
#else
    const __m128i pairs = _mm_maddubs_epi16(w.raw, x.raw);
    return Ints{_mm_add_epi32(sum.raw, _mm_madd_epi16(pairs, _mm_set1_epi16(1)))};
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

// The 4 activations of a quad in every lane.
HWY_INLINE Bytes load_quad(const int8_t* x) {
  int32_t quad;
  std::memcpy(&quad, x, sizeof(quad));
  return hn::BitCast(BytesTag(), hn::Set(IntsTag(), quad));
}

// Shifts each byte's neighbours in: the caller masks them off.
template <int kLeft>
HWY_INLINE Bytes shift_left(Bytes v) {
  if constexpr (kLeft == 0) {
    return v;
  } else if constexpr (kLeft > 0) {
    return hn::BitCast(BytesTag(), hn::ShiftLeft<kLeft>(hn::BitCast(WordsTag(), v)));
  } else {
    return hn::BitCast(BytesTag(), hn::ShiftRight<-kLeft>(hn::BitCast(WordsTag(), v)));
  }
}

// Adds the bits of one plane to the codes of 8 quads, w[0..8); `plane` points at this part's bytes
// of the first of the 8 * kWidth / 8 vectors.
template <int kWidth, int kShift>
HWY_INLINE void merge_plane(const uint8_t* HWY_RESTRICT plane, Bytes* HWY_RESTRICT w) {
  constexpr size_t kQuads = 8 / kWidth;  // per vector
  const Bytes mask = hn::Set(BytesTag(), static_cast<uint8_t>(((1 << kWidth) - 1) << kShift));
  unroll<kWidth>([&](auto v) BITSMITH_UNROLLED {
    const Bytes packed = hn::LoadU(BytesTag(), plane + v * 64);
    unroll<kQuads>([&](auto i) BITSMITH_UNROLLED {
      constexpr int kMove = kShift - kWidth * static_cast<int>(decltype(i)::value);
      const Bytes moved = shift_left<kMove>(packed);
      Bytes& out = w[v * kQuads + i];
      if constexpr (kWidth == 8) {
        out = moved;
      } else if constexpr (kShift == 0) {
        out = hn::And(moved, mask);
      } else {
        out = hn::OrAnd(out, moved, mask);
      }
    });
  });
}

// The codes of quads [quad, quad + 8) of one part, quad a multiple of 8.
template <int kBits>
HWY_INLINE void unpack8(const IntLayout& layout, const uint8_t* HWY_RESTRICT panel, int64_t quad,
                        Bytes* HWY_RESTRICT w) {
  const auto at = [&](size_t i) BITSMITH_UNROLLED {
    return panel + layout.planes[i].offset_bytes + quad / 8 * layout.planes[i].width * 64;
  };
  constexpr int kFour = kBits & 4 ? 4 : 0;
  constexpr int kTwo = kBits & 2 ? 2 : 0;
  if constexpr (kBits == 8) merge_plane<8, 0>(at(0), w);
  if constexpr (kFour != 0) merge_plane<4, 0>(at(0), w);
  if constexpr (kTwo != 0) merge_plane<2, kFour>(at(kFour ? 1 : 0), w);
  if constexpr ((kBits & 1) != 0) {
    merge_plane<1, kFour + kTwo>(at((kFour ? 1 : 0) + (kTwo ? 1 : 0)), w);
  }
}

// The codes of one quad of one part, for any number of bits.
HWY_INLINE Bytes unpack1(const IntLayout& layout, const uint8_t* HWY_RESTRICT panel, int64_t quad) {
  Bytes code = hn::Zero(BytesTag());
  for (int i = 0; i < layout.plane_count; ++i) {
    const IntLayout::Plane& plane = layout.planes[static_cast<size_t>(i)];
    const int64_t quads = 8 / plane.width;
    const Bytes packed = hn::LoadU(BytesTag(), panel + plane.offset_bytes + quad / quads * 64);
    const auto right = hn::ShiftRightSame(hn::BitCast(WordsTag(), packed),
                                          static_cast<int>(quad % quads) * plane.width);
    const Bytes part = hn::And(hn::BitCast(BytesTag(), right),
                               hn::Set(BytesTag(), static_cast<uint8_t>((1 << plane.width) - 1)));
    const auto left = hn::ShiftLeftSame(hn::BitCast(WordsTag(), part), plane.shift);
    code = hn::Or(code, hn::BitCast(BytesTag(), left));
  }
  return code;
}

HWY_INLINE Floats load_scales(const uint8_t* HWY_RESTRICT scales) {
  const hn::Rebind<hwy::float16_t, FloatsTag> dh;
  const hn::Repartition<uint8_t, decltype(dh)> d8;
  return hn::PromoteTo(FloatsTag(), hn::BitCast(dh, hn::LoadU(d8, scales)));
}

// 8 codes of `bits` bits, the first in the lowest bits, to 8 bytes: halves, quarters, eighths.
HWY_INLINE uint64_t spread8(uint64_t packed, int bits) {
  const auto ones = [](int n) { return (uint64_t{1} << n) - 1; };
  uint64_t v = packed;
  v = (v & ones(4 * bits)) | (v >> (4 * bits) & ones(4 * bits)) << 32;
  const uint64_t low2 = ones(2 * bits) * 0x0000000100000001U;
  v = (v & low2) | (v >> (2 * bits) & low2) << 16;
  const uint64_t low1 = ones(bits) * 0x0001000100010001U;
  return (v & low1) | (v >> bits & low1) << 8;
}

// The zero points of 16 rows, packed into 2 * bits bytes, as bytes.
HWY_INLINE void spread_zeros(const uint8_t* HWY_RESTRICT packed, int bits,
                             uint8_t* HWY_RESTRICT zeros) {
  for (int half = 0; half < 2; ++half) {
    uint64_t v = 0;
    std::memcpy(&v, packed + half * bits, static_cast<size_t>(bits));
    if (bits < 8) v = spread8(v, bits);
    std::memcpy(zeros + half * 8, &v, 8);
  }
}

HWY_INLINE Floats load_zeros(const uint8_t* HWY_RESTRICT zeros) {
  const hn::Rebind<uint8_t, IntsTag> d8;
  return hn::ConvertTo(FloatsTag(), hn::PromoteTo(IntsTag(), hn::LoadU(d8, zeros)));
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_INT_VECTOR_INL_H_
