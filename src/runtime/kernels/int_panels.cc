// The codec `int` times int8 activations: one token straight from the planes, more by register
// tiles.
#include "runtime/kernels/int_panels.h"

#include <algorithm>

#include "runtime/kernels/targets.h"

// Also AVX-512 with VNNI (Ice Lake, Zen 4 and newer), which Highway leaves out by default.
#define HWY_WANT_AVX3_DL 1

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/int_panels.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/cache_control.h"
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/int_vector-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // vectors of one lane cannot hold a quad

void multiply_panels(const IntJob& job, const IntRange& range, uint8_t* /*scratch*/) {
  multiply_int_reference(job, range);
}

#else

// How far ahead of the loads to ask for codes: hardware prefetchers stop at page borders.
constexpr int64_t kPrefetchBytes = 4096;

constexpr auto kRows = static_cast<int64_t>(kPartRows);

// The tokens of a tile: consecutive ones of a block of n tokens, which is the distance from group
// to group of everything here.
struct Tile {
  const int8_t* codes;
  const float* scales;
  const int32_t* neg_sums;
  int64_t n;
  float* y;  // of the panel's first row
};

// Scale and zero point of one group of weights, for one part.
struct GroupScale {
  Floats scale;
  Floats zero;
};

HWY_INLINE GroupScale load_group(const IntJob& job, int64_t panel, int64_t group, size_t part) {
  const IntLayout& layout = *job.layout;
  const int64_t at = panel * layout.groups + group;
  GroupScale result;
  result.scale = load_scales(job.bytes + layout.scales_offset + at * 32 + part * kPartRows * 2);
  if (layout.symmetric) {
    result.zero = hn::Set(FloatsTag(), layout.symmetric_zero());
  } else {
    alignas(16) uint8_t zeros[16];
    spread_zeros(job.bytes + layout.zeros_offset + at * layout.group_zero_bytes(), layout.bits,
                 zeros);
    result.zero = load_zeros(zeros + part * kPartRows);
  }
  return result;
}

// Whole zero points that all rows share, 2^shift, are subtracted before the dot product; others
// after it, in float32, which is exact as well.
template <bool kWholeZero>
HWY_INLINE Ints start_dot(int32_t neg_sum, int shift) {
  if constexpr (kWholeZero) return hn::ShiftLeftSame(hn::Set(IntsTag(), neg_sum), shift);
  return hn::Zero(IntsTag());
}

// y + (dot - zero * sum) * (weight scale * activation scale)
template <bool kWholeZero>
HWY_INLINE Floats add_dot(Ints dot, const GroupScale& group, int32_t neg_sum, float scale,
                          Floats y) {
  const FloatsTag df;
  Floats centred = hn::ConvertTo(df, dot);
  if constexpr (!kWholeZero) {
    centred = hn::MulAdd(group.zero, hn::Set(df, static_cast<float>(neg_sum)), centred);
  }
  return hn::MulAdd(centred, hn::Mul(group.scale, hn::Set(df, scale)), y);
}

// The rows of a part that exist.
HWY_INLINE void store_rows(const IntJob& job, int64_t panel, size_t part, Floats v,
                           float* HWY_RESTRICT y) {
  const auto row = static_cast<int64_t>(part * kPartRows);
  const int64_t rows = job.layout->shape.rows - panel * IntLayout::kPanelRows - row;
  if (rows >= kRows) {
    hn::StoreU(v, FloatsTag(), y + row);
  } else if (rows > 0) {
    alignas(64) float lanes[kPartRows];
    hn::Store(v, FloatsTag(), lanes);
    std::copy_n(lanes, rows, y + row);
  }
}

// One token, activation groups of 32: bound by memory, so codes are used as soon as they are
// unpacked.
template <int kBits, bool kWholeZero>
HWY_NOINLINE void multiply_token(const IntJob& job, int64_t panel, const Tile& tile) {
  const IntLayout& layout = *job.layout;
  constexpr int64_t kGroupBytes = 64 * kBits;
  for (size_t part = 0; part < kParts; ++part) {
    const uint8_t* codes = job.bytes + panel * layout.panel_code_bytes + part * kPartBytes;
    Floats y = hn::Zero(FloatsTag());
    GroupScale group{};
    int64_t weight_group = 0;
    int64_t next_weight_group = 0;  // begins at this activation group
    for (int64_t g = 0; g < job.x->groups; ++g) {
      if (g == next_weight_group) {
        group = load_group(job, panel, weight_group++, part);
        next_weight_group += ceil_div(layout.group_cols, 32);
      }
      for (int64_t b = 0; b < kGroupBytes; b += 64) {
        hwy::Prefetch(codes + g * kGroupBytes + kPrefetchBytes + b);
      }
      const int8_t* x = tile.codes + g * 32;
      Ints dot = start_dot<kWholeZero>(tile.neg_sums[g], kBits - 1);
      if (g * 8 + 8 <= layout.quads) {
        Bytes w[8];
        unpack8<kBits>(layout, codes, g * 8, w);
        unroll<8>([&](auto i)
                      BITSMITH_UNROLLED { dot = dot4<kBits>(dot, w[i], load_quad(x + i * 4)); });
      } else {
        for (int64_t quad = g * 8; quad < layout.quads; ++quad) {
          dot = dot4<kBits>(dot, unpack1(layout, codes, quad), load_quad(x + (quad - g * 8) * 4));
        }
      }
      y = add_dot<kWholeZero>(dot, group, tile.neg_sums[g], tile.scales[g], y);
    }
    store_rows(job, panel, part, y, tile.y);
  }
}

// The codes of a panel, a byte each, to `out` [quads, rounded up to 8][64]; missing quads are 0.
template <int kBits>
HWY_NOINLINE void unpack_panel(const IntLayout& layout, const uint8_t* HWY_RESTRICT panel,
                               uint8_t* HWY_RESTRICT out) {
  for (size_t part = 0; part < kParts; ++part) {
    const uint8_t* codes = panel + part * kPartBytes;
    uint8_t* HWY_RESTRICT to = out + part * kPartBytes;
    int64_t quad = 0;
    for (; quad + 8 <= layout.quads; quad += 8) {
      Bytes w[8];
      unpack8<kBits>(layout, codes, quad, w);
      unroll<8>([&](auto i) BITSMITH_UNROLLED {
        hn::StoreU(w[i], BytesTag(), to + (quad + static_cast<int64_t>(i)) * 64);
      });
    }
    for (; quad % 8 != 0 || quad < layout.quads; ++quad) {
      const Bytes w = quad < layout.quads ? unpack1(layout, codes, quad) : hn::Zero(BytesTag());
      hn::StoreU(w, BytesTag(), to + quad * 64);
    }
  }
}

// Unpacked codes times kTokens tokens whose sums stay in registers, beside the kQuads vectors of a
// group's codes; kQuads = 0: groups of any length, codes are loaded for each token.
template <int kBits, bool kWholeZero, size_t kQuads, size_t kTokens>
HWY_NOINLINE void multiply_tile(const IntJob& job, int64_t panel,
                                const uint8_t* HWY_RESTRICT unpacked, const Tile& tile) {
  const IntLayout& layout = *job.layout;
  const int64_t group_cols = job.x->group_cols;
  for (size_t part = 0; part < kParts; ++part) {
    Floats y[kTokens];
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED { y[t] = hn::Zero(FloatsTag()); });
    GroupScale group{};
    int64_t weight_group = 0;
    int64_t next_weight_group = 0;  // begins at this activation group
    for (int64_t g = 0; g < job.x->groups; ++g) {
      if (g == next_weight_group) {
        group = load_group(job, panel, weight_group++, part);
        next_weight_group += ceil_div(layout.group_cols, group_cols);
      }
      const uint8_t* HWY_RESTRICT codes = unpacked + g * group_cols * 16 + part * kPartBytes;
      const int64_t at = g * tile.n;
      const int8_t* HWY_RESTRICT x = tile.codes + at * group_cols;
      Bytes w[kQuads + 1];
      unroll<kQuads>([&](auto i)
                         BITSMITH_UNROLLED { w[i] = hn::LoadU(BytesTag(), codes + i * 64); });
      const int64_t quads = std::min(group_cols / 4, layout.quads - g * (group_cols / 4));
      unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
        const auto token = static_cast<int64_t>(t);
        Ints dot = start_dot<kWholeZero>(tile.neg_sums[at + token], layout.bits - 1);
        if constexpr (kQuads > 0) {
          unroll<kQuads>([&](auto i) BITSMITH_UNROLLED {
            dot = dot4<kBits>(dot, w[i], load_quad(x + (t * kQuads + i) * 4));
          });
        } else {
          for (int64_t i = 0; i < quads; ++i) {
            dot = dot4<kBits>(dot, hn::LoadU(BytesTag(), codes + i * 64),
                              load_quad(x + token * group_cols + i * 4));
          }
        }
        y[t] = add_dot<kWholeZero>(dot, group, tile.neg_sums[at + token], tile.scales[at + token],
                                   y[t]);
      });
    }
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
      store_rows(job, panel, part, y[t], tile.y + static_cast<int64_t>(t) * job.y_stride);
    });
  }
}

// Codes that need kBits at most, for all tokens of a block.
template <int kBits, bool kWholeZero>
void multiply_block(const IntJob& job, int64_t panel, const uint8_t* unpacked, Tile tile) {
  int64_t tokens = tile.n;
  const auto advance = [&](int64_t count) {
    tile.codes += count * job.x->group_cols;
    tile.scales += count;
    tile.neg_sums += count;
    tile.y += count * job.y_stride;
    tokens -= count;
  };
  if (job.x->group_cols == 32) {
    if constexpr (kPartBytes == 64) {  // only there are enough registers
      for (; tokens >= 16; advance(16)) {
        multiply_tile<kBits, kWholeZero, 8, 16>(job, panel, unpacked, tile);
      }
    }
    for (; tokens >= 4; advance(4)) {
      multiply_tile<kBits, kWholeZero, 8, 4>(job, panel, unpacked, tile);
    }
  }
  for (; tokens >= 1; advance(1)) {
    multiply_tile<kBits, kWholeZero, 0, 1>(job, panel, unpacked, tile);
  }
}

// Calls f(integral_constant<int, bits>).
template <class F>
HWY_INLINE void with_bits(int bits, const F& f) {
  switch (bits) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    case 5:
      return f(std::integral_constant<int, 5>());
    case 6:
      return f(std::integral_constant<int, 6>());
    case 7:
      return f(std::integral_constant<int, 7>());
    default:
      return f(std::integral_constant<int, 8>());
  }
}

void multiply_panels(const IntJob& job, const IntRange& range, uint8_t* scratch) {
  const Int8Activations& x = *job.x;
  const IntLayout& layout = *job.layout;
  const bool whole_zero = layout.symmetric && layout.bits > 1;
  const auto tile_of = [&](int64_t panel, int64_t block) {
    const int64_t first = block * Int8Activations::kBlock;
    return Tile{x.codes.data() + first * x.groups * x.group_cols,
                x.scales.data() + first * x.groups, x.neg_sums.data() + first * x.groups,
                std::min(Int8Activations::kBlock, job.tokens - first),
                job.y + first * job.y_stride + panel * IntLayout::kPanelRows};
  };
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    if (job.tokens == 1 && x.group_cols == 32) {
      with_bits(layout.bits, [&](auto bits) {
        whole_zero ? multiply_token<bits, true>(job, panel, tile_of(panel, 0))
                   : multiply_token<bits, false>(job, panel, tile_of(panel, 0));
      });
      continue;
    }
    with_bits(layout.bits, [&](auto bits) {
      unpack_panel<bits>(layout, job.bytes + panel * layout.panel_code_bytes, scratch);
    });
    // Where bytes are multiplied in pairs (see dot4), narrow codes are faster.
    constexpr int kNarrow = HWY_TARGET == HWY_AVX3_DL ? 8 : 7;
    for (int64_t block = range.block_begin; block < range.block_end; ++block) {
      const Tile tile = tile_of(panel, block);
      if (layout.bits <= 7) {
        whole_zero ? multiply_block<kNarrow, true>(job, panel, scratch, tile)
                   : multiply_block<kNarrow, false>(job, panel, scratch, tile);
      } else {
        whole_zero ? multiply_block<8, true>(job, panel, scratch, tile)
                   : multiply_block<8, false>(job, panel, scratch, tile);
      }
    }
  }
}

#endif  // HWY_TARGET != HWY_SCALAR

const char* dot_name() {
#if HWY_TARGET == HWY_AVX3_DL
  return "AVX-512 VNNI";
#elif HWY_TARGET == HWY_AVX3
  return "AVX-512";
#elif HWY_TARGET == HWY_AVX2
  return "AVX2";
#elif HWY_TARGET == HWY_SSE4
  return "SSE4";
#elif HWY_TARGET == HWY_NEON
  return "NEON";
#else
  return "portable";
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(multiply_panels);
HWY_EXPORT(dot_name);

void multiply_int(const IntJob& job, const IntRange& range, std::span<uint8_t> scratch) noexcept {
  BITSMITH_ASSERT(static_cast<int64_t>(scratch.size()) >= int_scratch_bytes(*job.layout));
  HWY_DYNAMIC_DISPATCH(multiply_panels)(job, range, scratch.data());
}

const char* int_dot_name() { return HWY_DYNAMIC_DISPATCH(dot_name)(); }

}  // namespace bitsmith
#endif
