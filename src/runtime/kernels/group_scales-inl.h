// The scales of GroupScales, per target, and the rows of a panel.

#if defined(BITSMITH_GROUP_SCALES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITSMITH_GROUP_SCALES_INL_H_
#undef BITSMITH_GROUP_SCALES_INL_H_
#else
#define BITSMITH_GROUP_SCALES_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "hwy/highway.h"
#include "runtime/kernels/dot-inl.h"
#include "runtime/kernels/group_scales.h"
#include "runtime/kernels/prefetch.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

// The scales of the rows of a part, at `in`.
template <ScaleKind kKind>
HWY_INLINE Floats load_scales(const uint8_t* HWY_RESTRICT in, Floats factor) {
  const FloatsTag df;
  if constexpr (kKind == ScaleKind::kF16) {
    const hn::Rebind<hwy::float16_t, FloatsTag> dh;
    const hn::Repartition<uint8_t, decltype(dh)> d8;
    return hn::Mul(hn::PromoteTo(df, hn::BitCast(dh, hn::LoadU(d8, in))), factor);
  } else {
    const hn::Rebind<uint8_t, FloatsTag> d8;
    const hn::Rebind<int32_t, FloatsTag> di;
    const Ints code = hn::PromoteTo(di, hn::LoadU(d8, in));
    if constexpr (kKind == ScaleKind::kE8m0) {
      const Ints bits = hn::Max(hn::ShiftLeft<23>(code), hn::Set(di, 0x400000));
      return hn::Mul(hn::BitCast(df, bits), factor);
    } else {
      constexpr bool kE4m3 = kKind == ScaleKind::kE4m3;
      const Ints number = hn::And(code, hn::Set(di, kE4m3 ? 0x7f : 0xff));
      const Floats small = hn::BitCast(df, hn::ShiftLeft<20>(number));
      const float power = kE4m3 ? GroupScales::kE4m3Power : GroupScales::kE5m3Power;
      return hn::Mul(hn::Mul(small, hn::Set(df, power)), factor);
    }
  }
}

// Calls f(integral_constant<ScaleKind, kind>) for a kind that is stored.
template <class F>
HWY_INLINE auto with_kind(ScaleKind kind, const F& f) {
  switch (kind) {
    case ScaleKind::kE8m0:
      return f(std::integral_constant<ScaleKind, ScaleKind::kE8m0>());
    case ScaleKind::kE4m3:
      return f(std::integral_constant<ScaleKind, ScaleKind::kE4m3>());
    case ScaleKind::kE5m3:
      return f(std::integral_constant<ScaleKind, ScaleKind::kE5m3>());
    default:
      return f(std::integral_constant<ScaleKind, ScaleKind::kF16>());
  }
}

// Goes over the groups of one part of a panel.
class ScaleCursor {
 public:
  ScaleCursor() = default;
  HWY_INLINE ScaleCursor(const GroupScales& scales, int64_t panel, size_t part)
      : kind_(scales.kind),
        group_bytes_(scales.group_bytes),
        factor_(hn::Set(FloatsTag(), scales.factor)) {
    if (kind_ == ScaleKind::kRow) {
      factor_ = hn::LoadU(FloatsTag(), scales.row_factors + panel * 16 + part * kPartRows);
    } else if (kind_ != ScaleKind::kOne) {
      at_ = scales.scales + panel * scales.panel_bytes +
            part * kPartRows * (kind_ == ScaleKind::kF16 ? 2 : 1);
    }
  }

  HWY_INLINE Floats next() {
    if (at_ == nullptr) return factor_;
    const uint8_t* in = at_;
    at_ += group_bytes_;
    prefetch_far(in + 512);
    return with_kind(kind_,
                     [&](auto kind) BITSMITH_UNROLLED { return load_scales<kind>(in, factor_); });
  }

 private:
  ScaleKind kind_;
  const uint8_t* at_ = nullptr;
  int64_t group_bytes_;
  Floats factor_;
};

// The rows of a part that exist; y is that of the panel's first row, of `rows` in the matrix.
HWY_INLINE void store_part(int64_t rows, int64_t panel, size_t part, Floats v,
                           float* HWY_RESTRICT y) {
  constexpr auto kLanes = static_cast<int64_t>(kPartRows);
  const int64_t row = static_cast<int64_t>(part) * kLanes;
  const int64_t left = rows - panel * CodePlanes::kPanelRows - row;
  if (left >= kLanes) {
    hn::StoreU(v, FloatsTag(), y + row);
  } else if (left > 0) {
    alignas(64) float lanes[kPartRows];
    hn::Store(v, FloatsTag(), lanes);
    std::copy_n(lanes, left, y + row);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_GROUP_SCALES_INL_H_
