// Planes of bits or trits times int8 activations.
#include "runtime/kernels/digit_panels.h"

#include <algorithm>
#include <array>

#include "runtime/kernels/targets.h"

// The targets of int_panels.cc.
#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/digit_panels.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/code_planes-inl.h"
#include "runtime/kernels/number_tile-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // vectors of one lane cannot hold a quad

void multiply_panels(const DigitJob& job, const PanelRange& range, uint8_t* /*scratch*/) {
  multiply_digits_reference(job, range);
}

#else

// Goes over one plane of a part, 8 quads at a time. The vectors that hold them may end before
// them: bits beyond are in the last vector, trits beyond count as 0.
template <int kBase>
class DigitCursor;

template <>
class DigitCursor<2> {
 public:
  static constexpr size_t kPhases = 1;

  DigitCursor() = default;
  HWY_INLINE DigitCursor(const uint8_t* plane, int64_t /*vectors*/) : at_(plane) {}

  template <size_t kPhase>
  HWY_INLINE void next8(Bytes* HWY_RESTRICT w) {
    const Bytes packed = PlaneCursor::load(at_);
    at_ += 64;
    const Bytes one = hn::Set(BytesTag(), 1);
    unroll<8>([&](auto i) BITSMITH_UNROLLED {
      constexpr int kRight = static_cast<int>(decltype(i)::value);
      w[i] = hn::And(shift_left<-kRight>(packed), one);
    });
  }

 private:
  const uint8_t* at_ = nullptr;
};

#if HWY_TARGET == HWY_AVX3_DL
// The first four trits of a byte below 81 (and what is left of bytes that no encoder writes).
struct TritTable {
  alignas(64) uint8_t trits[4][128] = {};
  constexpr TritTable() {
    for (int byte = 0; byte < 128; ++byte) {
      for (int i = 0, rest = byte; i < 4; ++i, rest /= 3) {
        trits[i][byte] = static_cast<uint8_t>(rest % 3);
      }
    }
  }
};
constexpr TritTable kTritTable;
#endif

// 5 trits to a byte: 8 vectors are 5 times 8 quads, one time for each phase.
template <>
class DigitCursor<3> {
 public:
  static constexpr size_t kPhases = 5;

  DigitCursor() = default;
  HWY_INLINE DigitCursor(const uint8_t* plane, int64_t vectors)
      : at_(plane), end_(plane + vectors * 64), digits_(), last_() {}

  template <size_t kPhase>
  HWY_INLINE void next8(Bytes* HWY_RESTRICT w) {
    unroll<8>([&](auto i) BITSMITH_UNROLLED {
      constexpr size_t kDigit = (kPhase * 8 + decltype(i)::value) % 5;
      if constexpr (kDigit == 0) load();
      w[i] = digit<kDigit>();
    });
  }

 private:
#if HWY_TARGET == HWY_AVX3_DL
  // The fifth trit: what is left of the byte when 81 is taken from it as often as possible, which
  // wraps around if it is too small, differs from it by 0, 81 or 162.
  HWY_INLINE void load() {
    const __m512i packed = next_vector().raw;
    const __m512i power = _mm512_set1_epi8(81);
    const __m512i once = _mm512_min_epu8(packed, _mm512_sub_epi8(packed, power));
    const __m512i first = _mm512_min_epu8(once, _mm512_sub_epi8(once, power));
    digits_ = Bytes{first};
    last_ = Bytes{_mm512_sub_epi8(packed, first)};
  }

  template <size_t kDigit>
  HWY_INLINE Bytes digit() {
    if constexpr (kDigit == 4) {
      return hn::And(shift_left<-6>(last_), hn::Set(BytesTag(), 3));
    } else {
      const uint8_t* table = kTritTable.trits[kDigit];
      return Bytes{_mm512_permutex2var_epi8(_mm512_load_si512(table), digits_.raw,
                                            _mm512_load_si512(table + 64))};
    }
  }
#else
  HWY_INLINE void load() { digits_ = next_vector(); }

  // The lowest digit of digits_, which is divided by 3.
  template <size_t kDigit>
  HWY_INLINE Bytes digit() {
    last_ = third(digits_);
    const Bytes result = hn::Sub(digits_, hn::Add(last_, hn::Add(last_, last_)));
    digits_ = last_;
    return result;
  }

  // floor(byte / 3) = byte * 171 >> 9, in the even bytes and in the odd ones.
  static HWY_INLINE Bytes third(Bytes bytes) {
    const WordsTag dw;
    const auto words = hn::BitCast(dw, bytes);
    const auto factor = hn::Set(dw, 171);
    const auto even = hn::ShiftRight<9>(hn::Mul(hn::And(words, hn::Set(dw, 0xff)), factor));
    const auto odd = hn::ShiftRight<1>(hn::Mul(hn::ShiftRight<8>(words), factor));
    return hn::BitCast(BytesTag(), hn::OrAnd(even, odd, hn::Set(dw, 0xff00)));
  }
#endif

  HWY_INLINE Bytes next_vector() {
    if (HWY_UNLIKELY(at_ >= end_)) return hn::Zero(BytesTag());
    const Bytes packed = PlaneCursor::load(at_);
    at_ += 64;
    return packed;
  }

  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
  Bytes digits_;
  Bytes last_;
};

// A job with what depends on its layout.
struct DigitWork {
  explicit DigitWork(const DigitJob& job_in)
      : job(job_in),
        layout(job.matrix->layout.codes),
        planes(static_cast<size_t>(job.matrix->planes())),
        lowest(job.matrix->lowest),
        step_shift(job.matrix->step - 1) {}

  template <int kBase>
  HWY_INLINE DigitCursor<kBase> digits(int64_t panel, size_t part, size_t p) const {
    const CodePlanes::Plane& plane = layout.planes[p];
    return DigitCursor<kBase>(
        job.codes + panel * layout.panel_code_bytes + plane.offset_bytes + part * kPartBytes,
        ceil_div(layout.quads, plane.per_vector));
  }

  // The sum over (lowest + step * digit) * x from that over digit * x; trits have step 1.
  template <int kBase>
  HWY_INLINE Ints centred(Ints dot, int32_t neg_sum) const {
    if constexpr (kBase == 2) dot = hn::ShiftLeftSame(dot, step_shift);
    return hn::Add(dot, hn::Set(IntsTag(), -lowest * neg_sum));
  }

  const DigitJob& job;
  const CodePlanes& layout;
  size_t planes;
  int32_t lowest;
  int step_shift;
};

// The mean times the sum of the activations.
HWY_INLINE Floats add_mean(Floats mean, int32_t neg_sum, float x_scale, Floats y) {
  return add_dot(hn::Set(IntsTag(), -neg_sum), mean, x_scale, y);
}

// One token: digits are used as soon as they are unpacked, and kStreams panels, `distance` from
// each other, are read side by side, as in int_panels.cc, but whole vectors of each at a time.
template <int kBase, size_t kPlanes, size_t kStreams>
HWY_NOINLINE void multiply_token(const DigitWork& work, int64_t panel, int64_t distance,
                                 const Tile& tile) {
  using Cursor = DigitCursor<kBase>;
  constexpr size_t kPhases = Cursor::kPhases;
  const DigitJob& job = work.job;
  const int64_t groups = job.x->groups;
  const int64_t groups_per_scale = job.groups_per_scale();
  const bool has_mean = job.matrix->has_mean;
  for (size_t part = 0; part < kParts; ++part) {
    Cursor digits[kStreams][kPlanes];
    ScaleCursor scales[kStreams][kPlanes];
    Floats scale[kStreams][kPlanes];
    ScaleCursor means[kStreams];
    Floats mean[kStreams];
    Floats y[kStreams];
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const int64_t mine = panel + static_cast<int64_t>(s) * distance;
      unroll<kPlanes>([&](auto p) BITSMITH_UNROLLED {
        digits[s][p] = work.digits<kBase>(mine, part, p);
        scales[s][p] = ScaleCursor(job.scales[p], mine, part);
        scale[s][p] = hn::Zero(FloatsTag());
      });
      means[s] = ScaleCursor(job.mean, mine, part);
      mean[s] = hn::Zero(FloatsTag());
      y[s] = hn::Zero(FloatsTag());
    });
    int64_t left = 0;  // groups of activations that the scales are still for
    for (int64_t first = 0; first < groups; first += kPhases) {
      std::array<bool, kPhases> fresh;
      for (bool& now : fresh) {
        now = left == 0;
        left = (now ? groups_per_scale : left) - 1;
      }
      unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
        unroll<kPhases>([&](auto phase) BITSMITH_UNROLLED {
          const int64_t g = first + static_cast<int64_t>(phase);
          if (g >= groups) return;
          const int8_t* HWY_RESTRICT x = tile.codes + g * 32;
          unroll<kPlanes>([&](auto p) BITSMITH_UNROLLED {
            if (fresh[phase]) scale[s][p] = scales[s][p].next();
            Bytes w[8];
            digits[s][p].template next8<phase>(w);
            Ints dot = hn::Zero(IntsTag());
            unroll<8>([&](auto i)
                          BITSMITH_UNROLLED { dot = dot4<7>(dot, w[i], load_quad(x + i * 4)); });
            y[s] = add_dot(work.centred<kBase>(dot, tile.neg_sums[g]), scale[s][p], tile.scales[g],
                           y[s]);
          });
          if (has_mean) {
            if (fresh[phase]) mean[s] = means[s].next();
            y[s] = add_mean(mean[s], tile.neg_sums[g], tile.scales[g], y[s]);
          }
        });
      });
    }
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const int64_t on = static_cast<int64_t>(s) * distance;
      store_part(work.layout.shape.rows, panel + on, part, y[s],
                 tile.y + on * CodePlanes::kPanelRows);
    });
  }
}

// The digits of a panel, a byte each, to `out` [planes][quads, rounded up to 8][64].
template <int kBase>
HWY_NOINLINE void unpack_panel(const DigitWork& work, int64_t panel, uint8_t* HWY_RESTRICT out) {
  using Cursor = DigitCursor<kBase>;
  for (size_t p = 0; p < work.planes; ++p) {
    for (size_t part = 0; part < kParts; ++part) {
      Cursor digits = work.digits<kBase>(panel, part, p);
      uint8_t* HWY_RESTRICT to = out + part * kPartBytes;
      for (int64_t quad = 0; quad < work.layout.quads;) {
        unroll<Cursor::kPhases>([&](auto phase) BITSMITH_UNROLLED {
          if (quad >= work.layout.quads) return;
          Bytes w[8];
          digits.template next8<phase>(w);
          unroll<8>([&](auto i) BITSMITH_UNROLLED { hn::StoreU(w[i], BytesTag(), to + i * 64); });
          to += 8 * 64;
          quad += 8;
        });
      }
    }
    out += work.job.plane_bytes();
  }
}

// Unpacked digits times kTokens tokens, 1 or 4.
template <size_t kTokens>
HWY_NOINLINE void multiply_tile(const DigitWork& work, int64_t panel,
                                const uint8_t* HWY_RESTRICT unpacked, const Tile& tile) {
  const DigitJob& job = work.job;
  const int64_t groups = job.x->groups;
  const int64_t groups_per_scale = job.groups_per_scale();
  const int64_t plane_bytes = job.plane_bytes();
  for (size_t part = 0; part < kParts; ++part) {
    Floats y[kTokens];
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED { y[t] = hn::Zero(FloatsTag()); });
    ScaleCursor scales[DigitJob::kMaxPlanes];
    Floats scale[DigitJob::kMaxPlanes];
    for (size_t p = 0; p < work.planes; ++p) {
      scales[p] = ScaleCursor(job.scales[p], panel, part);
      scale[p] = hn::Zero(FloatsTag());
    }
    ScaleCursor means(job.mean, panel, part);
    Floats mean = hn::Zero(FloatsTag());
    const int8_t* HWY_RESTRICT x = tile.codes;
    const float* HWY_RESTRICT x_scales = tile.scales;
    const int32_t* HWY_RESTRICT neg_sums = tile.neg_sums;
    for (int64_t g = 0; g < groups; ++g) {
      const bool fresh = g % groups_per_scale == 0;
      for (size_t p = 0; p < work.planes; ++p) {
        if (fresh) scale[p] = scales[p].next();
        const uint8_t* HWY_RESTRICT digits =
            unpacked + static_cast<int64_t>(p) * plane_bytes + g * 8 * 64 + part * kPartBytes;
        Ints dot[kTokens];
        unroll<kTokens>([&](auto t) BITSMITH_UNROLLED { dot[t] = hn::Zero(IntsTag()); });
        unroll<8>([&](auto i) BITSMITH_UNROLLED {
          const Bytes w = hn::LoadU(BytesTag(), digits + i * 64);
          unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
            dot[t] = dot4<7>(dot[t], w, load_quad(x + (t * 8 + i) * 4));
          });
        });
        unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
          y[t] = add_dot(work.centred<2>(dot[t], neg_sums[t]), scale[p], x_scales[t], y[t]);
        });
      }
      if (job.matrix->has_mean) {
        if (fresh) mean = means.next();
        unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
          y[t] = add_mean(mean, neg_sums[t], x_scales[t], y[t]);
        });
      }
      x += tile.n * 32;
      x_scales += tile.n;
      neg_sums += tile.n;
    }
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
      store_part(work.layout.shape.rows, panel, part, y[t],
                 tile.y + static_cast<int64_t>(t) * job.y_stride);
    });
  }
}

template <int kBase>
void multiply_base(const DigitJob& job, const PanelRange& range, uint8_t* scratch) {
  const DigitWork work(job);
  if (job.tokens == 1) {
    const Tile tile = tile_of(job, range.panel_begin, 0);
    const auto run = [&](auto planes, auto streams) {
      for_streams<streams>(range, tile,
                           [&](int64_t panel, int64_t distance, auto count, const Tile& at) {
                             multiply_token<kBase, planes, count>(work, panel, distance, at);
                           });
    };
    switch (work.planes) {
      case 1:
        return run(std::integral_constant<size_t, 1>(), std::integral_constant<size_t, 2>());
      case 2:
        return run(std::integral_constant<size_t, 2>(), std::integral_constant<size_t, 2>());
      case 3:
        return run(std::integral_constant<size_t, 3>(), std::integral_constant<size_t, 1>());
      default:
        return run(std::integral_constant<size_t, 4>(), std::integral_constant<size_t, 1>());
    }
  }
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    unpack_panel<kBase>(work, panel, scratch);
    for (int64_t block = range.block_begin; block < range.block_end; ++block) {
      Tile tile = tile_of(job, panel, block);
      int64_t left = tile.n;
      for (; left >= 4; left -= 4) {
        multiply_tile<4>(work, panel, scratch, tile);
        tile.advance(4, 32, job.y_stride);
      }
      for (; left > 0; --left) {
        multiply_tile<1>(work, panel, scratch, tile);
        tile.advance(1, 32, job.y_stride);
      }
    }
  }
}

void multiply_panels(const DigitJob& job, const PanelRange& range, uint8_t* scratch) {
  job.matrix->base() == 3 ? multiply_base<3>(job, range, scratch)
                          : multiply_base<2>(job, range, scratch);
}

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(multiply_panels);

void multiply_digits(const DigitJob& job, const PanelRange& range,
                     std::span<uint8_t> scratch) noexcept {
  BITSMITH_ASSERT(static_cast<int64_t>(scratch.size()) >= job.scratch_bytes());
  HWY_DYNAMIC_DISPATCH(multiply_panels)(job, range, align_scratch(scratch.data()));
}

}  // namespace bitsmith
#endif
