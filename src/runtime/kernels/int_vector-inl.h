// Vector primitives of the codec `int`, per target: dot products of codes, scales and zeros.

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
#include "runtime/kernels/code_planes-inl.h"
#include "runtime/kernels/dot-inl.h"
#include "runtime/kernels/prefetch.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

// dot + the next 8 quads times the 32 activations at x.
template <int kBits>
HWY_INLINE Ints dot8(PlaneCursor& cursor, const int8_t* HWY_RESTRICT x, Ints dot) {
  Bytes w[8];
  unpack8<kBits>(cursor, w);
  unroll<8>([&](auto i) BITSMITH_UNROLLED { dot = dot4<kBits>(dot, w[i], load_quad(x + i * 4)); });
  return dot;
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
