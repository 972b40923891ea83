// Scaled levels times int8 activations: codes become numbers by byte permutations.
#include "runtime/kernels/level_panels.h"

#include <algorithm>
#include <cstring>

#include "runtime/kernels/targets.h"

// The targets of int_panels.cc.
#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/level_panels.cc"
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

void multiply_panels(const LevelJob& job, const PanelRange& range, uint8_t* /*scratch*/) {
  multiply_levels_reference(job, range);
}

#else

// table[code] for every byte. Codes of up to 4 bits take one permutation everywhere; longer ones up
// to three with AVX-512 VBMI, elsewhere a load each.
template <int kBits>
class Lookup {
 public:
  Lookup() = default;
  explicit Lookup(const std::vector<uint8_t>& table) {
    for (size_t i = 0; i < sizeof(table_); ++i) table_[i] = table[i % table.size()];
  }

  HWY_INLINE Bytes operator()(Bytes code) const {
    const BytesTag d8;
    if constexpr (kBits <= 4) {
      return hn::TableLookupBytes(hn::Load(d8, table_), code);
    } else {
#if HWY_TARGET == HWY_AVX3_DL
      const __m512i t0 = _mm512_load_si512(table_);
      if constexpr (kBits <= 6) return Bytes{_mm512_permutexvar_epi8(code.raw, t0)};
      const __m512i t1 = _mm512_load_si512(table_ + 64);
      const __m512i low = _mm512_permutex2var_epi8(t0, code.raw, t1);
      if constexpr (kBits <= 7) return Bytes{low};
      const __m512i t2 = _mm512_load_si512(table_ + 128);
      const __m512i t3 = _mm512_load_si512(table_ + 192);
      const __m512i high = _mm512_permutex2var_epi8(t2, code.raw, t3);
      return Bytes{_mm512_mask_mov_epi8(low, _mm512_movepi8_mask(code.raw), high)};
#else
      alignas(64) uint8_t bytes[kPartBytes];
      hn::Store(code, d8, bytes);
      for (uint8_t& byte : bytes) byte = table_[byte];
      return hn::Load(d8, bytes);
#endif
    }
  }

 private:
  alignas(64) uint8_t table_[kBits <= 6 ? 64 : 256] = {};  // repeated as often as it fits
};

// One dot product in the making: of narrow numbers the low bytes only.
template <bool kWide>
struct Dot {
  HWY_INLINE explicit Dot(int32_t start) : low(hn::Set(IntsTag(), start)) {
    if constexpr (kWide) high = hn::Zero(IntsTag());
  }
  HWY_INLINE Ints sum() const {
    if constexpr (kWide) return hn::Add(hn::ShiftLeft<7>(high), low);
    return low;
  }
  Ints low;
  Ints high;
};

// A job with what depends on its layout, for codes of kBits.
template <int kBits, bool kWide>
struct LevelWork {
  explicit LevelWork(const LevelJob& job_in)
      : job(job_in), low(job.table->low), high(job.table->high) {}

  HWY_INLINE void add(Dot<kWide>& dot, Bytes code, Bytes x) const {
    dot.low = dot4<7>(dot.low, low(code), x);
    if constexpr (kWide) dot.high = dot4<7>(dot.high, high(code), x);
  }

  const LevelJob& job;
  Lookup<kBits> low;
  Lookup<kBits> high;
};

// One token: codes are used as soon as they are unpacked, and kStreams panels, `distance` from each
// other, are read side by side, as in int_panels.cc. 8 quads at a time are kGroups groups of
// activations.
template <int kBits, bool kWide, size_t kGroups, size_t kStreams>
HWY_NOINLINE void multiply_token(const LevelWork<kBits, kWide>& work, int64_t panel,
                                 int64_t distance, const Tile& tile) {
  const LevelJob& job = work.job;
  const CodePlanes& layout = *job.planes;
  constexpr size_t kQuads = 8 / kGroups;
  const int64_t full_groups = layout.quads / 8 * static_cast<int64_t>(kGroups);
  const int64_t groups = job.x->groups;
  const int64_t groups_per_scale = job.groups_per_scale();
  const int32_t offset = job.offset;
  for (size_t part = 0; part < kParts; ++part) {
    const uint8_t* codes[kStreams];
    PlaneCursor planes[kStreams];
    ScaleCursor scales[kStreams];
    Floats scale[kStreams];
    Floats y[kStreams];
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const int64_t mine = panel + static_cast<int64_t>(s) * distance;
      codes[s] = job.codes + mine * layout.panel_code_bytes + part * kPartBytes;
      planes[s] = PlaneCursor(layout, codes[s]);
      scales[s] = ScaleCursor(job.scales, mine, part);
      scale[s] = hn::Zero(FloatsTag());
      y[s] = hn::Zero(FloatsTag());
    });
    const int8_t* HWY_RESTRICT x = tile.codes;
    const float* HWY_RESTRICT x_scales = tile.scales;
    const int32_t* HWY_RESTRICT neg_sums = tile.neg_sums;
    int64_t left = 0;  // groups of activations that the scale is still for
    int64_t g = 0;
    for (; g < full_groups; g += kGroups) {
      bool fresh[kGroups];
      for (size_t i = 0; i < kGroups; ++i) {
        fresh[i] = left == 0;
        left = (left == 0 ? groups_per_scale : left) - 1;
      }
      unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
        Bytes w[8];
        unpack8<kBits>(planes[s], w);
        unroll<kGroups>([&](auto i) BITSMITH_UNROLLED {
          if (fresh[i]) scale[s] = scales[s].next();
          Dot<kWide> dot(neg_sums[g + static_cast<int64_t>(i)] * offset);
          unroll<kQuads>([&](auto q) BITSMITH_UNROLLED {
            constexpr size_t kQuad = decltype(i)::value * kQuads + decltype(q)::value;
            work.add(dot, w[kQuad], load_quad(x + kQuad * 4));
          });
          y[s] = add_dot(dot.sum(), scale[s], x_scales[g + static_cast<int64_t>(i)], y[s]);
        });
      });
      x += 32;
    }
    for (; g < groups; ++g) {  // those in which quads are missing, and one before, if of 16 columns
      const bool fresh = left == 0;
      left = (fresh ? groups_per_scale : left) - 1;
      const int64_t first = g * static_cast<int64_t>(kQuads);
      const int64_t last = std::min(first + static_cast<int64_t>(kQuads), layout.quads);
      unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
        if (fresh) scale[s] = scales[s].next();
        Dot<kWide> dot(neg_sums[g] * offset);
        for (int64_t quad = first; quad < last; ++quad) {
          work.add(dot, unpack1(layout, codes[s], quad), load_quad(x + (quad - first) * 4));
        }
        y[s] = add_dot(dot.sum(), scale[s], x_scales[g], y[s]);
      });
      x += kQuads * 4;
    }
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const int64_t on = static_cast<int64_t>(s) * distance;
      store_part(layout.shape.rows, panel + on, part, y[s], tile.y + on * CodePlanes::kPanelRows);
    });
  }
}

// The numbers of a panel as NumberJob::plane_bytes() says; missing quads are 0.
template <int kBits, bool kWide>
HWY_NOINLINE void unpack_panel(const LevelWork<kBits, kWide>& work, int64_t panel,
                               uint8_t* HWY_RESTRICT low) {
  const LevelJob& job = work.job;
  const CodePlanes& layout = *job.planes;
  const BytesTag d8;
  uint8_t* HWY_RESTRICT high = low + job.plane_bytes();
  for (size_t part = 0; part < kParts; ++part) {
    const uint8_t* codes = job.codes + panel * layout.panel_code_bytes + part * kPartBytes;
    PlaneCursor planes(layout, codes);
    const auto put = [&](int64_t quad, Bytes code) BITSMITH_UNROLLED {
      const auto at = static_cast<size_t>(quad) * 64 + part * kPartBytes;
      hn::StoreU(work.low(code), d8, low + at);
      if constexpr (kWide) hn::StoreU(work.high(code), d8, high + at);
    };
    int64_t quad = 0;
    for (; quad + 8 <= layout.quads; quad += 8) {
      Bytes w[8];
      unpack8<kBits>(planes, w);
      unroll<8>([&](auto i) BITSMITH_UNROLLED { put(quad + static_cast<int64_t>(i), w[i]); });
    }
    for (; quad % 8 != 0 || quad < layout.quads; ++quad) {
      put(quad, quad < layout.quads ? unpack1(layout, codes, quad) : hn::Zero(d8));
    }
  }
}

// The same with tables of rows, byte by byte: it is done once for many tokens.
template <int kBits>
HWY_NOINLINE void unpack_panel_by_rows(const LevelJob& job, int64_t panel,
                                       uint8_t* HWY_RESTRICT low) {
  uint8_t* HWY_RESTRICT high = low + job.plane_bytes();
  const CodePlanes& layout = *job.planes;
  const uint8_t* tables = job.row_tables + panel * LevelJob::kPanelTableBytes;
  for (size_t part = 0; part < kParts; ++part) {
    const uint8_t* codes = job.codes + panel * layout.panel_code_bytes + part * kPartBytes;
    for (int64_t quad = 0; quad < ceil_div(layout.quads, 8) * 8; ++quad) {
      alignas(64) uint8_t bytes[kPartBytes] = {};
      if (quad < layout.quads) hn::Store(unpack1(layout, codes, quad), BytesTag(), bytes);
      const auto at = static_cast<size_t>(quad) * 64 + part * kPartBytes;
      for (size_t i = 0; i < kPartBytes; ++i) {
        const size_t row = part * kPartRows + i / 4;
        const uint8_t* table = tables + row / 4 * 128 + row % 4 * 16 + bytes[i];
        high[at + i] = table[0];
        low[at + i] = table[64];
      }
    }
  }
}

#if HWY_TARGET == HWY_AVX3_DL

// The 4 x 4 matrix of 128-bit blocks transposed: block l of v[k] becomes block k of v[l].
HWY_INLINE void transpose_blocks(Bytes* HWY_RESTRICT v) {
  const __m512i a = _mm512_shuffle_i32x4(v[0].raw, v[1].raw, 0x88);  // 0.0 0.2 1.0 1.2
  const __m512i b = _mm512_shuffle_i32x4(v[0].raw, v[1].raw, 0xdd);  // 0.1 0.3 1.1 1.3
  const __m512i c = _mm512_shuffle_i32x4(v[2].raw, v[3].raw, 0x88);
  const __m512i d = _mm512_shuffle_i32x4(v[2].raw, v[3].raw, 0xdd);
  v[0] = Bytes{_mm512_shuffle_i32x4(a, c, 0x88)};
  v[1] = Bytes{_mm512_shuffle_i32x4(b, d, 0x88)};
  v[2] = Bytes{_mm512_shuffle_i32x4(a, c, 0xdd)};
  v[3] = Bytes{_mm512_shuffle_i32x4(b, d, 0xdd)};
}

// Block k of the result is the sum of the blocks of v[k].
HWY_INLINE Ints sum_blocks(const Ints* HWY_RESTRICT v) {
  const auto pair = [](Ints a, Ints b) BITSMITH_UNROLLED {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a.raw, b.raw, 0x44),
                            _mm512_shuffle_i32x4(a.raw, b.raw, 0xee));
  };
  const __m512i low = pair(v[0], v[1]);
  const __m512i high = pair(v[2], v[3]);
  return Ints{_mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88),
                               _mm512_shuffle_i32x4(low, high, 0xdd))};
}

// One token, each row with a table of its own. A permutation reaches 64 entries, those of 4 rows,
// so vectors are made to hold 4 rows of 4 quads instead of 16 rows of one; the sums over quads then
// lie in 4 blocks.
template <int kBits, size_t kStreams>
HWY_NOINLINE void multiply_token_by_rows(const LevelJob& job, int64_t panel, int64_t distance,
                                         const Tile& tile) {
  const CodePlanes& layout = *job.planes;
  const int64_t full_groups = layout.quads / 8;
  const BytesTag d8;
  // The rows' places in the table.
  const Bytes places{_mm512_set4_epi32(0x30303030, 0x20202020, 0x10101010, 0)};
  // Where the 4 bits of codes are unpacked after the transposition, block l of vectors of the first
  // half has quad 2l, of the second quad 2l + 1; else quad l and quad 4 + l.
  constexpr int kFirst = kBits == 4 ? 2 : 1;
  constexpr int kSecond = kBits == 4 ? 1 : 4;
  alignas(64) int32_t spread[16];
  for (int i = 0; i < 16; ++i) spread[i] = i / 4 * kFirst;
  const __m512i first_half = _mm512_load_si512(spread);
  const __m512i second_half = _mm512_add_epi32(first_half, _mm512_set1_epi32(kSecond));

  const int64_t stride = distance * layout.panel_code_bytes;
  const int64_t table_stride = distance * LevelJob::kPanelTableBytes;
  const uint8_t* const codes = job.codes + panel * layout.panel_code_bytes;
  const uint8_t* const tables = job.row_tables + panel * LevelJob::kPanelTableBytes;
  const Bytes mask = hn::Set(d8, static_cast<uint8_t>((1 << kBits) - 1));
  PlaneCursor planes(layout, codes);
  Floats scales[kStreams];
  Floats y[kStreams];
  unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
    scales[s] = ScaleCursor(job.scales, panel + static_cast<int64_t>(s) * distance, 0).next();
    y[s] = hn::Zero(FloatsTag());
  });
  // The dot product of the codes of 8 quads, of which the kBits lowest bits count, in two halves.
  const auto dot_of = [&](int64_t stream, const Bytes* w, Bytes x_first,
                          Bytes x_second) BITSMITH_UNROLLED {
    Ints dots[4];
    unroll<4>([&](auto k) BITSMITH_UNROLLED {
      const uint8_t* table = tables + stream * table_stride + k * 128;
      const __m512i high = _mm512_loadu_si512(table);
      const __m512i low = _mm512_loadu_si512(table + 64);
      const Bytes a = hn::OrAnd(places, w[k], mask);
      const Bytes b = hn::OrAnd(places, w[4 + k], mask);
      Ints more = hn::Zero(IntsTag());
      more = dot4<7>(more, Bytes{_mm512_permutexvar_epi8(a.raw, high)}, x_first);
      more = dot4<7>(more, Bytes{_mm512_permutexvar_epi8(b.raw, high)}, x_second);
      Ints sum = hn::ShiftLeft<7>(more);
      sum = dot4<7>(sum, Bytes{_mm512_permutexvar_epi8(a.raw, low)}, x_first);
      dots[k] = dot4<7>(sum, Bytes{_mm512_permutexvar_epi8(b.raw, low)}, x_second);
    });
    return sum_blocks(dots);
  };
  for (int64_t g = 0; g < job.x->groups; ++g) {
    const __m512i x = _mm512_castsi256_si512(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile.codes + g * 32)));
    const Bytes x_first{_mm512_permutexvar_epi32(first_half, x)};
    const Bytes x_second{_mm512_permutexvar_epi32(second_half, x)};
    const Ints start = hn::Set(IntsTag(), tile.neg_sums[g] * kWideOffset);
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      constexpr auto kStream = static_cast<int64_t>(decltype(s)::value);
      PlaneCursor mine = planes.moved(kStream * stride);
      Bytes w[8];
      if (HWY_UNLIKELY(g >= full_groups)) {  // quads beyond the last meet activations that are 0
        for (size_t i = 0; i < 8; ++i) {
          const int64_t quad = g * 8 + static_cast<int64_t>(kBits != 4 ? i
                                                            : i < 4    ? 2 * i
                                                                       : 2 * i - 7);
          w[i] =
              quad < layout.quads ? unpack1(layout, codes + kStream * stride, quad) : hn::Zero(d8);
        }
        transpose_blocks(w);
        transpose_blocks(w + 4);
      } else if constexpr (kBits == 4) {
        const uint8_t* vectors = mine.template next<4>(0);
        unroll<4>([&](auto i) BITSMITH_UNROLLED { w[i] = PlaneCursor::load(vectors + i * 64); });
        transpose_blocks(w);
        unroll<4>([&](auto i) BITSMITH_UNROLLED { w[4 + i] = shift_left<-4>(w[i]); });
      } else {
        unpack8<kBits>(mine, w);
        transpose_blocks(w);
        transpose_blocks(w + 4);
      }
      const Ints dot = hn::Add(dot_of(kStream, w, x_first, x_second), start);
      y[s] = add_dot(dot, scales[s], tile.scales[g], y[s]);
    });
    planes.template skip8<kBits>();
  }
  unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
    const int64_t on = static_cast<int64_t>(s) * distance;
    store_part(layout.shape.rows, panel + on, 0, y[s], tile.y + on * CodePlanes::kPanelRows);
  });
}

#endif  // HWY_TARGET == HWY_AVX3_DL

template <int kBits, bool kWide, size_t kGroups>
void multiply_range(const LevelJob& job, const PanelRange& range, uint8_t* scratch) {
  const LevelWork<kBits, kWide> work(job);
  if (job.tokens == 1) {
    for_streams<kTokenStreams>(
        range, tile_of(job, range.panel_begin, 0),
        [&](int64_t panel, int64_t distance, auto streams, const Tile& tile) {
          multiply_token<kBits, kWide, kGroups, decltype(streams)::value>(work, panel, distance,
                                                                          tile);
        });
    return;
  }
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    unpack_panel<kBits, kWide>(work, panel, scratch);
    multiply_blocks<kWide ? 7 : 0, kGroups>(job, range, panel, scratch);
  }
}

template <int kBits>
void multiply_range_by_rows(const LevelJob& job, const PanelRange& range, uint8_t* scratch) {
#if HWY_TARGET == HWY_AVX3_DL
  if (job.tokens == 1) {
    for_streams<2>(range, tile_of(job, range.panel_begin, 0),
                   [&](int64_t panel, int64_t distance, auto streams, const Tile& tile) {
                     multiply_token_by_rows<kBits, decltype(streams)::value>(job, panel, distance,
                                                                             tile);
                   });
    return;
  }
#endif
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    unpack_panel_by_rows<kBits>(job, panel, scratch);
    multiply_blocks<7, 1>(job, range, panel, scratch);
  }
}

// Groups of 16 columns only for the codes that come in such, and long codes only wide: each
// combination takes its time to compile.
template <int kBits>
void multiply_bits(const LevelJob& job, const PanelRange& range, uint8_t* scratch) {
  if constexpr (kBits <= 4) {
    if (job.row_tables != nullptr) return multiply_range_by_rows<kBits>(job, range, scratch);
  }
  if constexpr (kBits == 4) {
    if (job.x->group_cols == 16) {
      return job.radix_bits != 0 ? multiply_range<kBits, true, 2>(job, range, scratch)
                                 : multiply_range<kBits, false, 2>(job, range, scratch);
    }
  }
  if constexpr (kBits <= 4 || kBits == 6) {
    if (job.radix_bits == 0) return multiply_range<kBits, false, 1>(job, range, scratch);
  }
  multiply_range<kBits, true, 1>(job, range, scratch);
}

void multiply_panels(const LevelJob& job, const PanelRange& range, uint8_t* scratch) {
  switch (job.bits) {
    case 1:
      return multiply_bits<1>(job, range, scratch);
    case 2:
      return multiply_bits<2>(job, range, scratch);
    case 3:
      return multiply_bits<3>(job, range, scratch);
    case 4:
      return multiply_bits<4>(job, range, scratch);
    case 5:
      return multiply_bits<5>(job, range, scratch);
    case 6:
      return multiply_bits<6>(job, range, scratch);
    case 7:
      return multiply_bits<7>(job, range, scratch);
    default:
      return multiply_bits<8>(job, range, scratch);
  }
}

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(multiply_panels);

void multiply_levels(const LevelJob& job, const PanelRange& range,
                     std::span<uint8_t> scratch) noexcept {
  BITSMITH_ASSERT(static_cast<int64_t>(scratch.size()) >= job.scratch_bytes());
  HWY_DYNAMIC_DISPATCH(multiply_panels)(job, range, align_scratch(scratch.data()));
}

}  // namespace bitsmith
#endif
