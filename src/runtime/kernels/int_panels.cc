// The codec `int` times int8 activations: one token straight from the planes, more by register
// tiles.
#include "runtime/kernels/int_panels.h"

#include <algorithm>

#include "runtime/kernels/targets.h"

// AVX-512 with VNNI (Ice Lake, Zen 4 and newer), which Highway leaves out by default, but not
// AVX-512 without it, which has no better dot product than AVX2.
#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/int_panels.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/int_vector-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // vectors of one lane cannot hold a quad

void multiply_panels(const IntJob& job, const PanelRange& range, uint8_t* /*scratch*/) {
  multiply_int_reference(job, range);
}

#else

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
    centred = hn::MulAdd(group.zero, hn::ConvertTo(df, hn::Set(IntsTag(), neg_sum)), centred);
  }
  return hn::MulAdd(centred, hn::Mul(group.scale, hn::Set(df, scale)), y);
}

// A job with what depends on its layout.
struct Work {
  explicit Work(const IntJob& job_in)
      : job(job_in),
        group_quads(job.x->group_cols / 4),
        groups_per_scale(ceil_div(job.layout->group_cols, job.x->group_cols)) {
    for (size_t part = 0; part < kParts; ++part) zero_tables[part].init(job.layout->bits, part);
  }

  GroupCursor groups(int64_t panel, size_t part) const {
    return GroupCursor(*job.layout, job.bytes, panel, part, &zero_tables[part]);
  }

  // The rows of a part that exist; y is that of the panel's first row.
  HWY_INLINE void store(int64_t panel, size_t part, Floats v, float* HWY_RESTRICT y) const {
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

  const IntJob& job;
  int64_t group_quads;       // of activations
  int64_t groups_per_scale;  // groups of activations per group of weights
  ZeroTable zero_tables[kParts];
};

// One token, activation groups of 32: bound by memory, so codes are used as soon as they are
// unpacked, and kStreams panels, `distance` from each other, are read side by side: the processor
// fetches ahead in each of several streams and so gets more out of the memory than from one.
template <int kBits, bool kWholeZero, size_t kStreams>
HWY_NOINLINE void multiply_token(const Work& work, int64_t panel, int64_t distance,
                                 const Tile& tile) {
  const IntLayout& layout = *work.job.layout;
  const int64_t full_groups = layout.quads / 8;
  const int64_t groups = work.job.x->groups;
  for (size_t part = 0; part < kParts; ++part) {
    const uint8_t* codes[kStreams];
    PlaneCursor planes[kStreams];
    GroupCursor scales[kStreams];
    GroupScale group[kStreams];
    Floats y[kStreams];
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const int64_t mine = panel + static_cast<int64_t>(s) * distance;
      codes[s] = work.job.bytes + mine * layout.panel_code_bytes + part * kPartBytes;
      planes[s] = PlaneCursor(layout, codes[s]);
      scales[s] = work.groups(mine, part);
      y[s] = hn::Zero(FloatsTag());
    });
    const int8_t* HWY_RESTRICT x = tile.codes;
    const float* HWY_RESTRICT x_scales = tile.scales;
    const int32_t* HWY_RESTRICT neg_sums = tile.neg_sums;
    for (int64_t g = 0; g < groups;) {
      unroll<kStreams>([&](auto s) BITSMITH_UNROLLED { group[s] = scales[s].next(); });
      const int64_t end = std::min(g + work.groups_per_scale, groups);
      const int64_t full_end = std::min(end, full_groups);
      for (; g < full_end; ++g) {
        unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
          const Ints dot = dot8<kBits>(planes[s], x, start_dot<kWholeZero>(neg_sums[g], kBits - 1));
          y[s] = add_dot<kWholeZero>(dot, group[s], neg_sums[g], x_scales[g], y[s]);
        });
        x += 32;
      }
      if (g < end) {  // the last group, if it is short
        unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
          Ints dot = start_dot<kWholeZero>(neg_sums[g], kBits - 1);
          for (int64_t quad = g * 8; quad < layout.quads; ++quad) {
            dot = dot4<kBits>(dot, unpack1(layout, codes[s], quad),
                              load_quad(x + (quad - g * 8) * 4));
          }
          y[s] = add_dot<kWholeZero>(dot, group[s], neg_sums[g], x_scales[g], y[s]);
        });
        ++g;
      }
    }
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const int64_t on = static_cast<int64_t>(s) * distance;
      work.store(panel + on, part, y[s], tile.y + on * IntLayout::kPanelRows);
    });
  }
}

// The panels [begin, end) for one token.
template <int kBits, bool kWholeZero>
void multiply_token_panels(const Work& work, int64_t begin, int64_t end, const Tile& tile) {
  const int64_t distance = (end - begin) / kTokenStreams;
  const auto at = [&](int64_t panel) {
    Tile moved = tile;
    moved.y += (panel - begin) * IntLayout::kPanelRows;
    return moved;
  };
  for (int64_t panel = begin; panel < begin + distance; ++panel) {
    multiply_token<kBits, kWholeZero, kTokenStreams>(work, panel, distance, at(panel));
  }
  for (int64_t panel = begin + distance * kTokenStreams; panel < end; ++panel) {
    multiply_token<kBits, kWholeZero, 1>(work, panel, 0, at(panel));
  }
}

// The codes of a panel, a byte each, to `out` [quads, rounded up to 8][64]; missing quads are 0.
template <int kBits>
HWY_NOINLINE void unpack_panel(const IntLayout& layout, const uint8_t* HWY_RESTRICT panel,
                               uint8_t* HWY_RESTRICT out) {
  for (size_t part = 0; part < kParts; ++part) {
    const uint8_t* codes = panel + part * kPartBytes;
    uint8_t* HWY_RESTRICT to = out + part * kPartBytes;
    PlaneCursor planes(layout, codes);
    int64_t quad = 0;
    for (; quad + 8 <= layout.quads; quad += 8) {
      Bytes w[8];
      unpack8<kBits>(planes, w);
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

// Unpacked codes times kTokens tokens in activation groups of 32. In registers: the 8 vectors of
// codes of a group, the tokens' sums, and the dot products of 4 tokens at a time, which hide each
// other's latency.
template <int kBits, bool kWholeZero, size_t kTokens>
HWY_NOINLINE void multiply_tile(const Work& work, int64_t panel,
                                const uint8_t* HWY_RESTRICT unpacked, const Tile& tile) {
  constexpr size_t kStep = kTokens % 4 == 0 ? 4 : 1;
  const int64_t groups = work.job.x->groups;
  const int zero_shift = work.job.layout->bits - 1;
  for (size_t part = 0; part < kParts; ++part) {
    Floats y[kTokens];
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED { y[t] = hn::Zero(FloatsTag()); });
    GroupCursor scales = work.groups(panel, part);
    const uint8_t* HWY_RESTRICT codes = unpacked + part * kPartBytes;
    const int8_t* HWY_RESTRICT x = tile.codes;
    const float* HWY_RESTRICT x_scales = tile.scales;
    const int32_t* HWY_RESTRICT neg_sums = tile.neg_sums;
    for (int64_t g = 0; g < groups;) {
      const GroupScale group = scales.next();
      const int64_t end = std::min(g + work.groups_per_scale, groups);
      for (; g < end; ++g) {
        Bytes w[8];
        unroll<8>([&](auto i) BITSMITH_UNROLLED { w[i] = hn::LoadU(BytesTag(), codes + i * 64); });
        unroll<kTokens / kStep>([&](auto block) BITSMITH_UNROLLED {
          constexpr size_t kFirst = decltype(block)::value * kStep;
          Ints dot[kStep];
          unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
            dot[t] = start_dot<kWholeZero>(neg_sums[kFirst + t], zero_shift);
          });
          unroll<8>([&](auto i) BITSMITH_UNROLLED {
            unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
              dot[t] = dot4<kBits>(dot[t], w[i], load_quad(x + (kFirst + t) * 32 + i * 4));
            });
          });
          unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
            y[kFirst + t] = add_dot<kWholeZero>(dot[t], group, neg_sums[kFirst + t],
                                                x_scales[kFirst + t], y[kFirst + t]);
          });
        });
        codes += 8 * 64;
        x += tile.n * 32;
        x_scales += tile.n;
        neg_sums += tile.n;
      }
    }
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
      work.store(panel, part, y[t], tile.y + static_cast<int64_t>(t) * work.job.y_stride);
    });
  }
}

// Unpacked codes times one token in activation groups of any length.
template <int kBits>
HWY_NOINLINE void multiply_any(const Work& work, int64_t panel,
                               const uint8_t* HWY_RESTRICT unpacked, const Tile& tile) {
  const int64_t groups = work.job.x->groups;
  for (size_t part = 0; part < kParts; ++part) {
    Floats y = hn::Zero(FloatsTag());
    GroupCursor scales = work.groups(panel, part);
    for (int64_t g = 0; g < groups;) {
      const GroupScale group = scales.next();
      const int64_t end = std::min(g + work.groups_per_scale, groups);
      for (; g < end; ++g) {
        const int8_t* HWY_RESTRICT x = tile.codes + g * tile.n * work.group_quads * 4;
        const int64_t first = g * work.group_quads;
        const int64_t last = std::min(first + work.group_quads, work.job.layout->quads);
        Ints dot = hn::Zero(IntsTag());
        for (int64_t quad = first; quad < last; ++quad) {
          const Bytes w = hn::LoadU(BytesTag(), unpacked + quad * 64 + part * kPartBytes);
          dot = dot4<kBits>(dot, w, load_quad(x + (quad - first) * 4));
        }
        y = add_dot<false>(dot, group, tile.neg_sums[g * tile.n], tile.scales[g * tile.n], y);
      }
    }
    work.store(panel, part, y, tile.y);
  }
}

// Codes that need kBits at most, for all tokens of a block.
template <int kBits, bool kWholeZero>
void multiply_block(const Work& work, int64_t panel, const uint8_t* unpacked, Tile tile) {
  int64_t tokens = tile.n;
  const auto advance = [&](int64_t count) {
    tile.codes += count * work.job.x->group_cols;
    tile.scales += count;
    tile.neg_sums += count;
    tile.y += count * work.job.y_stride;
    tokens -= count;
  };
  const bool fast = work.group_quads == 8;
  while (tokens > 0) {
    if constexpr (kPartBytes == 64) {  // only there are enough registers
      if (fast && tokens >= 16) {
        multiply_tile<kBits, kWholeZero, 16>(work, panel, unpacked, tile);
        advance(16);
        continue;
      }
    }
    if (fast && tokens >= 4) {
      multiply_tile<kBits, kWholeZero, 4>(work, panel, unpacked, tile);
      advance(4);
    } else if (fast) {
      multiply_tile<kBits, kWholeZero, 1>(work, panel, unpacked, tile);
      advance(1);
    } else {
      multiply_any<kBits>(work, panel, unpacked, tile);
      advance(1);
    }
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

void multiply_panels(const IntJob& job, const PanelRange& range, uint8_t* scratch) {
  const Work work(job);
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
  if (job.tokens == 1 && x.group_cols == 32) {
    const Tile tile = tile_of(range.panel_begin, 0);
    with_bits(layout.bits, [&](auto bits) {
      whole_zero
          ? multiply_token_panels<bits, true>(work, range.panel_begin, range.panel_end, tile)
          : multiply_token_panels<bits, false>(work, range.panel_begin, range.panel_end, tile);
    });
    return;
  }
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    with_bits(layout.bits, [&](auto bits) {
      unpack_panel<bits>(layout, job.bytes + panel * layout.panel_code_bytes, scratch);
    });
    // Where bytes are multiplied in pairs (see dot4), narrow codes are faster.
    constexpr int kNarrow = HWY_TARGET == HWY_AVX3_DL ? 8 : 7;
    for (int64_t block = range.block_begin; block < range.block_end; ++block) {
      const Tile tile = tile_of(panel, block);
      if (layout.bits <= 7) {
        whole_zero ? multiply_block<kNarrow, true>(work, panel, scratch, tile)
                   : multiply_block<kNarrow, false>(work, panel, scratch, tile);
      } else {
        whole_zero ? multiply_block<8, true>(work, panel, scratch, tile)
                   : multiply_block<8, false>(work, panel, scratch, tile);
      }
    }
  }
}

#endif  // HWY_TARGET != HWY_SCALAR

const char* dot_name() {
#if HWY_TARGET == HWY_AVX3_DL
  return "AVX-512 VNNI";
#elif HWY_TARGET == HWY_AVX2
  return "AVX2";
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

void multiply_int(const IntJob& job, const PanelRange& range, std::span<uint8_t> scratch) noexcept {
  BITSMITH_ASSERT(static_cast<int64_t>(scratch.size()) >= int_scratch_bytes(*job.layout));
  HWY_DYNAMIC_DISPATCH(multiply_panels)(job, range, scratch.data());
}

const char* int_dot_name() { return HWY_DYNAMIC_DISPATCH(dot_name)(); }

}  // namespace bitsmith
#endif
