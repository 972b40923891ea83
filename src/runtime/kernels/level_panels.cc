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
template <int kBits, bool kWide>
HWY_NOINLINE void unpack_panel_by_rows(const LevelJob& job, int64_t panel,
                                       uint8_t* HWY_RESTRICT low) {
  uint8_t* HWY_RESTRICT high = low + job.plane_bytes();
  const CodePlanes& layout = *job.planes;
  const uint8_t* tables = job.row_tables + panel * job.panel_table_bytes();
  for (size_t part = 0; part < kParts; ++part) {
    const uint8_t* codes = job.codes + panel * layout.panel_code_bytes + part * kPartBytes;
    for (int64_t quad = 0; quad < ceil_div(layout.quads, 8) * 8; ++quad) {
      alignas(64) uint8_t bytes[kPartBytes] = {};
      if (quad < layout.quads) hn::Store(unpack1(layout, codes, quad), BytesTag(), bytes);
      const auto at = static_cast<size_t>(quad) * 64 + part * kPartBytes;
      for (size_t i = 0; i < kPartBytes; ++i) {
        const uint8_t* entry = tables + (part * kPartRows + i / 4) * 16 + bytes[i];
        low[at + i] = entry[0];
        if constexpr (kWide) high[at + i] = entry[LevelJob::kRowTableBytes];
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

// Four rows of four groups of activations at a time: the codes of 8 quads each, a quad of all four
// groups in one vector, whose block l is group l. Row k of rows 4k to 4k + 3 for k = 0 to 3.
template <int kBits>
class RowCodes {
 public:
  //   vectors(width, plane): the plane's vectors from the first group on
  //   places: what is added to the codes of a row
  template <class Vectors>
  HWY_INLINE RowCodes(const Vectors& vectors, Bytes places) : places_(places) {
    size_t plane = 0;
    for (const int width : {4, 2, 1}) {
      if ((kBits & width) != 0) vectors_[plane] = vectors(width, plane);
      plane += (kBits & width) != 0 ? 1 : 0;
    }
  }

  // The codes of quad kQuad; quads are asked for in ascending order.
  template <size_t kQuad>
  HWY_INLINE void next(Bytes* HWY_RESTRICT codes) {
    unroll<4>([&](auto k) BITSMITH_UNROLLED { codes[k] = places_; });
    if constexpr ((kBits & 4) != 0) merge<kQuad, 4, 0, 0>(codes);
    if constexpr ((kBits & 2) != 0) merge<kQuad, 2, kBits & 4, (kBits & 4) != 0 ? 1 : 0>(codes);
    if constexpr ((kBits & 1) != 0)
      merge<kQuad, 1, kBits & 6, (kBits >> 1 & 1) + (kBits >> 2)>(codes);
  }

 private:
  template <size_t kQuad, int kWidth, int kShift, size_t kPlane>
  HWY_INLINE void merge(Bytes* HWY_RESTRICT codes) {
    constexpr size_t kPerVector = 8 / kWidth;
    Bytes* HWY_RESTRICT packed = packed_[kPlane];
    if constexpr (kQuad % kPerVector == 0) {
      unroll<4>([&](auto group) BITSMITH_UNROLLED {
        packed[group] =
            hn::LoadU(BytesTag(), vectors_[kPlane] + (group * kWidth + kQuad / kPerVector) * 64);
      });
      transpose_blocks(packed);
    }
    const Bytes mask = hn::Set(BytesTag(), static_cast<uint8_t>(((1 << kWidth) - 1) << kShift));
    constexpr int kMove = kShift - kWidth * static_cast<int>(kQuad % kPerVector);
    unroll<4>([&](auto k) BITSMITH_UNROLLED {
      codes[k] = hn::OrAnd(codes[k], shift_left<kMove>(packed[k]), mask);
    });
  }

  Bytes places_;
  const uint8_t* vectors_[3] = {};
  Bytes packed_[3][4];
};

// One token, each row with a table of its own. A permutation reaches 64 entries, those of 4 rows,
// so vectors are made to hold a quad of 4 rows in 4 groups of activations instead of one of 16
// rows; the dot products are then put back in order.
template <int kBits, bool kWide, size_t kStreams>
HWY_NOINLINE void multiply_token_by_rows(const LevelJob& job, int64_t panel, int64_t distance,
                                         const Tile& tile) {
  constexpr int64_t kTogether = 4;  // groups
  const CodePlanes& layout = *job.planes;
  const int64_t groups = job.x->groups;
  // The rows' places in the table.
  const Bytes places{_mm512_set4_epi32(0x30303030, 0x20202020, 0x10101010, 0)};
  alignas(64) int32_t first_quads[16];
  for (int i = 0; i < 16; ++i) first_quads[i] = i / 4 * 8;
  Floats scales[kStreams];
  Floats y[kStreams];
  unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
    scales[s] = ScaleCursor(job.scales, panel + static_cast<int64_t>(s) * distance, 0).next();
    y[s] = hn::Zero(FloatsTag());
  });
  for (int64_t g = 0; g < groups; g += kTogether) {
    const int64_t count = std::min(kTogether, groups - g);
    const bool whole = (g + kTogether) * 8 <= layout.quads;
    alignas(64) int8_t x_copy[kTogether * 32];
    const int8_t* x = tile.codes + g * 32;
    if (HWY_UNLIKELY(!whole)) {
      std::fill(std::copy_n(x, count * 32, x_copy), std::end(x_copy), int8_t{0});
      x = x_copy;
    }
    Bytes quads[8];
    unroll<8>([&](auto f) BITSMITH_UNROLLED {
      const __m512i at =
          _mm512_add_epi32(_mm512_load_si512(first_quads), _mm512_set1_epi32(static_cast<int>(f)));
      quads[f] =
          Bytes{_mm512_permutex2var_epi32(_mm512_loadu_si512(x), at, _mm512_loadu_si512(x + 64))};
    });
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const int64_t mine = panel + static_cast<int64_t>(s) * distance;
      const uint8_t* const codes = job.codes + mine * layout.panel_code_bytes;
      const uint8_t* const tables = job.row_tables + mine * job.panel_table_bytes();
      // Beyond the last quad codes of 0 meet activations of 0.
      alignas(64) uint8_t copy[kBits][kTogether * 64];
      const auto vectors = [&](int width, size_t plane) BITSMITH_UNROLLED {
        const uint8_t* from = codes + layout.planes[plane].offset_bytes + g * width * 64;
        // In order: quads are not read so.
        for (int i = 0; i < kTogether * width; ++i) prefetch_far(from + 4096 + i * 64);
        if (HWY_LIKELY(whole)) return from;
        const int64_t left = ceil_div(layout.quads * width, int64_t{8}) - g * width;
        uint8_t* to = copy[plane == 0 ? 0 : kBits - width];
        std::fill_n(std::copy_n(from, std::min(left, kTogether * width) * 64, to),
                    std::max<int64_t>(0, kTogether * width - left) * 64, uint8_t{0});
        return static_cast<const uint8_t*>(to);
      };
      RowCodes<kBits> row_codes(vectors, places);
      Ints dots[4];
      Ints more[4];
      unroll<4>([&](auto k) BITSMITH_UNROLLED {
        dots[k] = hn::Zero(IntsTag());
        more[k] = hn::Zero(IntsTag());
      });
      unroll<8>([&](auto f) BITSMITH_UNROLLED {
        Bytes code[4];
        row_codes.template next<f>(code);
        unroll<4>([&](auto k) BITSMITH_UNROLLED {
          const uint8_t* table = tables + k * 64;
          const auto number = [&](const uint8_t* bytes) BITSMITH_UNROLLED {
            return Bytes{_mm512_permutexvar_epi8(code[k].raw, _mm512_loadu_si512(bytes))};
          };
          dots[k] = dot4<8>(dots[k], number(table), quads[f]);
          if constexpr (kWide) {
            more[k] = dot4<7>(more[k], number(table + LevelJob::kRowTableBytes), quads[f]);
          }
        });
      });
      Bytes by_group[4];
      unroll<4>([&](auto k) BITSMITH_UNROLLED {
        if constexpr (kWide) dots[k] = hn::Add(dots[k], hn::ShiftLeft<7>(more[k]));
        by_group[k] = hn::BitCast(BytesTag(), dots[k]);
      });
      transpose_blocks(by_group);
      unroll<4>([&](auto l) BITSMITH_UNROLLED {
        if (static_cast<int64_t>(l) >= count) return;
        const int64_t at = g + static_cast<int64_t>(l);
        const Ints dot = hn::Add(hn::BitCast(IntsTag(), by_group[l]),
                                 hn::Set(IntsTag(), tile.neg_sums[at] * job.offset));
        y[s] = add_dot(dot, scales[s], tile.scales[at], y[s]);
      });
    });
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

template <int kBits, bool kWide>
void multiply_range_by_rows(const LevelJob& job, const PanelRange& range, uint8_t* scratch) {
#if HWY_TARGET == HWY_AVX3_DL
  if (job.tokens == 1) {
    for_streams<kTokenStreams>(
        range, tile_of(job, range.panel_begin, 0),
        [&](int64_t panel, int64_t distance, auto streams, const Tile& tile) {
          multiply_token_by_rows<kBits, kWide, decltype(streams)::value>(job, panel, distance,
                                                                         tile);
        });
    return;
  }
#endif
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    unpack_panel_by_rows<kBits, kWide>(job, panel, scratch);
    multiply_blocks<kWide ? 7 : NumberJob::kOneByte, 1>(job, range, panel, scratch);
  }
}

// Groups of 16 columns only for the codes that come in such, and long codes only wide: each
// combination takes its time to compile.
template <int kBits>
void multiply_bits(const LevelJob& job, const PanelRange& range, uint8_t* scratch) {
  if constexpr (kBits <= 4) {
    if (job.row_tables != nullptr) {
      return job.radix_bits == 7 ? multiply_range_by_rows<kBits, true>(job, range, scratch)
                                 : multiply_range_by_rows<kBits, false>(job, range, scratch);
    }
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
