// Vector primitives of the codec `int`, per target: unpacking planes, zeros.

#if defined(BITSMITH_INT_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITSMITH_INT_VECTOR_INL_H_
#undef BITSMITH_INT_VECTOR_INL_H_
#else
#define BITSMITH_INT_VECTOR_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "codecs/int_layout.h"
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
  HWY_INLINE PlaneCursor(const IntLayout& layout, const uint8_t* part)
      : planes_{part, part + layout.planes[1].offset_bytes, part + layout.planes[2].offset_bytes} {}

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

// dot + the next 8 quads times the 32 activations at x.
template <int kBits>
HWY_INLINE Ints dot8(PlaneCursor& cursor, const int8_t* HWY_RESTRICT x, Ints dot) {
  Bytes w[8];
  unpack8<kBits>(cursor, w);
  unroll<8>([&](auto i) BITSMITH_UNROLLED { dot = dot4<kBits>(dot, w[i], load_quad(x + i * 4)); });
  return dot;
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

// How to take the zero points of a part's rows out of their 2 * bits bytes: row r has the bits
// [r * bits, r * bits + bits), which lie in two bytes. These go to the row's 32-bit lane, and its
// bits to the top of the lane's lower half by a product.
struct ZeroTable {
  void init(int bits, size_t part) {
    for (size_t i = 0; i < kPartRows; ++i) {
      const int bit = static_cast<int>(part * kPartRows + i) * bits;
      bytes[i * 4] = static_cast<uint8_t>(bit / 8);
      bytes[i * 4 + 1] = static_cast<uint8_t>(std::min(bit / 8 + 1, 2 * bits - 1));
      factors[i] = 1 << (16 - bits - bit % 8);
    }
  }
  alignas(64) uint8_t bytes[kPartBytes] = {};
  alignas(64) int32_t factors[kPartRows] = {};
};

// Scales and zero points of one group of weights, for one part.
struct GroupScale {
  Floats scale;
  Floats zero;
};

// Goes over the groups of weights of one part of a panel.
class GroupCursor {
 public:
  GroupCursor() = default;
  HWY_INLINE GroupCursor(const IntLayout& layout, const uint8_t* bytes, int64_t panel, size_t part,
                         const ZeroTable* table)
      : scales_(bytes + layout.scales_offset + panel * layout.panel_scale_bytes() +
                part * kPartRows * 2),
        zeros_(bytes + layout.zeros_offset + panel * layout.groups * layout.group_zero_bytes()),
        last_wide_load_(bytes + layout.total_bytes - 16),
        table_(table),
        bits_(layout.bits),
        symmetric_(layout.symmetric),
        symmetric_zero_(layout.symmetric_zero()) {}

  HWY_INLINE GroupScale next() {
    const FloatsTag df;
    const hn::Rebind<hwy::float16_t, FloatsTag> dh;
    const hn::Repartition<uint8_t, decltype(dh)> d8;
    GroupScale group;
    group.scale = hn::PromoteTo(df, hn::BitCast(dh, hn::LoadU(d8, scales_)));
    prefetch_far(scales_ + 128);
    scales_ += 32;
    group.zero = symmetric_ ? hn::Set(df, symmetric_zero_) : hn::ConvertTo(df, next_zeros());
    return group;
  }

 private:
  HWY_INLINE Ints next_zeros() {
    const IntsTag di;
    const hn::Repartition<uint16_t, IntsTag> dw;
    alignas(16) uint8_t copy[16];
    const uint8_t* from = zeros_;
    if (HWY_UNLIKELY(from > last_wide_load_)) {
      std::memcpy(copy, from, static_cast<size_t>(2 * bits_));
      from = copy;
    }
    zeros_ += 2 * bits_;
    const Bytes packed = hn::LoadDup128(BytesTag(), from);
    const Bytes pairs = hn::TableLookupBytes(packed, hn::Load(BytesTag(), table_->bytes));
    const auto top =
        hn::Mul(hn::BitCast(dw, pairs), hn::BitCast(dw, hn::Load(di, table_->factors)));
    return hn::BitCast(di, hn::ShiftRightSame(top, 16 - bits_));
  }

  const uint8_t* scales_;
  const uint8_t* zeros_;
  const uint8_t* last_wide_load_;  // 16 bytes can be read up to here
  const ZeroTable* table_;
  int bits_;
  bool symmetric_;
  float symmetric_zero_;
};

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_INT_VECTOR_INL_H_
