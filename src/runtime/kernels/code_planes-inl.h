// Codes of a panel unpacked to bytes, per target: 8 quads at a time, or one.

#if defined(BITSMITH_CODE_PLANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITSMITH_CODE_PLANES_INL_H_
#undef BITSMITH_CODE_PLANES_INL_H_
#else
#define BITSMITH_CODE_PLANES_INL_H_
#endif

#include "codecs/code_planes.h"
#include "hwy/highway.h"
#include "runtime/kernels/dot-inl.h"
#include "runtime/kernels/prefetch.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

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

// Goes over the planes of a part, 8 quads at a time.
class PlaneCursor {
 public:
  PlaneCursor() = default;
  HWY_INLINE PlaneCursor(const CodePlanes& layout, const uint8_t* part)
      : planes_{part, part + layout.planes[1].offset_bytes, part + layout.planes[2].offset_bytes} {}

  // The same place in another panel.
  HWY_INLINE PlaneCursor moved(int64_t bytes) const {
    PlaneCursor result;
    for (size_t i = 0; i < 3; ++i) result.planes_[i] = planes_[i] + bytes;
    return result;
  }
  // Passes by 8 quads of codes of kBits.
  template <int kBits>
  HWY_INLINE void skip8() {
    size_t plane = 0;
    for (const int width : {8, 4, 2, 1}) {
      if ((kBits & width) != 0) planes_[plane++] += width * 64;
    }
  }

  // The first of the kWidth vectors of plane i (widest first), which are passed by.
  template <int kWidth>
  HWY_INLINE const uint8_t* next(size_t i) {
    const uint8_t* vectors = planes_[i];
    planes_[i] += kWidth * 64;
    return vectors;
  }

  // Also asks for what will be loaded soon.
  static HWY_INLINE Bytes load(const uint8_t* vector) {
    constexpr int64_t kAheadBytes = 1024;
    prefetch_far(vector + kAheadBytes);
    return hn::LoadU(BytesTag(), vector);
  }

 private:
  const uint8_t* planes_[3];
};

// Adds the bits of plane i to the codes of 8 quads, w[0..8).
template <int kWidth, int kShift>
HWY_INLINE void merge_plane(PlaneCursor& cursor, size_t i, Bytes* HWY_RESTRICT w) {
  constexpr size_t kQuads = 8 / kWidth;  // per vector
  const Bytes mask = hn::Set(BytesTag(), static_cast<uint8_t>(((1 << kWidth) - 1) << kShift));
  const uint8_t* vectors = cursor.next<kWidth>(i);
  unroll<kWidth>([&](auto v) BITSMITH_UNROLLED {
    const Bytes packed = PlaneCursor::load(vectors + v * 64);
    unroll<kQuads>([&](auto quad) BITSMITH_UNROLLED {
      constexpr int kMove = kShift - kWidth * static_cast<int>(decltype(quad)::value);
      const Bytes moved = shift_left<kMove>(packed);
      Bytes& out = w[v * kQuads + quad];
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

// The codes of the next 8 quads.
template <int kBits>
HWY_INLINE void unpack8(PlaneCursor& cursor, Bytes* HWY_RESTRICT w) {
  constexpr int kFour = kBits & 4 ? 4 : 0;
  constexpr int kTwo = kBits & 2 ? 2 : 0;
  constexpr size_t kTwoAt = kFour ? 1 : 0;
  constexpr size_t kOneAt = kTwoAt + (kTwo ? 1 : 0);
  if constexpr (kBits == 8) merge_plane<8, 0>(cursor, 0, w);
  if constexpr (kFour != 0) merge_plane<4, 0>(cursor, 0, w);
  if constexpr (kTwo != 0) merge_plane<2, kFour>(cursor, kTwoAt, w);
  if constexpr ((kBits & 1) != 0) merge_plane<1, kFour + kTwo>(cursor, kOneAt, w);
}

// The codes of one quad of one part, for any number of bits.
HWY_INLINE Bytes unpack1(const CodePlanes& layout, const uint8_t* HWY_RESTRICT panel,
                         int64_t quad) {
  Bytes code = hn::Zero(BytesTag());
  for (int i = 0; i < layout.plane_count; ++i) {
    const CodePlanes::Plane& plane = layout.planes[static_cast<size_t>(i)];
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

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_CODE_PLANES_INL_H_
