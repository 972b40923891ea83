// Numbers of a panel times int8 activations, per target: what NumberJob's kernels share.

#if defined(BITSMITH_NUMBER_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITSMITH_NUMBER_TILE_INL_H_
#undef BITSMITH_NUMBER_TILE_INL_H_
#else
#define BITSMITH_NUMBER_TILE_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "runtime/kernels/dot-inl.h"
#include "runtime/kernels/group_scales-inl.h"
#include "runtime/kernels/number_job.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

// The tokens of a tile: consecutive ones of a block of n tokens.
struct Tile {
  const int8_t* codes;
  const float* scales;
  const int32_t* neg_sums;
  int64_t n;
  float* y;  // of the panel's first row

  void advance(int64_t tokens, int64_t group_cols, int64_t y_stride) {
    codes += tokens * group_cols;
    scales += tokens;
    neg_sums += tokens;
    y += tokens * y_stride;
  }
};

// The tokens of a block.
template <class Job>
HWY_INLINE Tile tile_of(const Job& job, int64_t panel, int64_t block) {
  const Int8Activations& x = *job.x;
  const int64_t first = block * Int8Activations::kBlock;
  return {x.codes.data() + first * x.groups * x.group_cols, x.scales.data() + first * x.groups,
          x.neg_sums.data() + first * x.groups,
          std::min(Int8Activations::kBlock, job.tokens - first),
          job.y + first * job.y_stride + panel * CodePlanes::kPanelRows};
}

// y + dot * (weight scale * activation scale)
HWY_INLINE Floats add_dot(Ints dot, Floats scale, float x_scale, Floats y) {
  const FloatsTag df;
  return hn::MulAdd(hn::ConvertTo(df, dot), hn::Mul(scale, hn::Set(df, x_scale)), y);
}

// Calls one(panel, distance, streams, tile) for the panels of a range, kStreams side by side as
// long as there are as many, each `distance` from the one before; then one by one.
template <size_t kStreams, class One>
HWY_INLINE void for_streams(const PanelRange& range, const Tile& tile, const One& one) {
  constexpr auto kMost = static_cast<int64_t>(kStreams);
  const int64_t distance = (range.panel_end - range.panel_begin) / kMost;
  const auto at = [&](int64_t panel) {
    Tile moved = tile;
    moved.y += (panel - range.panel_begin) * CodePlanes::kPanelRows;
    return moved;
  };
  int64_t panel = range.panel_begin;
  for (; panel < range.panel_begin + distance; ++panel) {
    one(panel, distance, std::integral_constant<size_t, kStreams>(), at(panel));
  }
  for (panel = range.panel_begin + distance * kMost; panel < range.panel_end; ++panel) {
    one(panel, int64_t{0}, std::integral_constant<size_t, 1>(), at(panel));
  }
}

// Numbers times kTokens tokens. In registers: the tokens' sums, and the dot products of 4 tokens at
// a time, which hide each other's latency; numbers come from the first-level cache.
template <int kRadix, size_t kGroups, size_t kTokens>
HWY_NOINLINE void multiply_tile(const NumberJob& job, int64_t panel,
                                const uint8_t* HWY_RESTRICT unpacked, const Tile& tile) {
  constexpr size_t kStep = kTokens % 4 == 0 ? 4 : 1;
  constexpr size_t kQuads = 8 / kGroups;
  constexpr int kBits = kRadix == 8 || kRadix == NumberJob::kOneByte ? 8 : 7;  // of a byte
  const BytesTag d8;
  const int64_t groups = job.x->groups;
  const int64_t groups_per_scale = job.groups_per_scale();
  const int32_t offset = job.offset;
  for (size_t part = 0; part < kParts; ++part) {
    Floats y[kTokens];
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED { y[t] = hn::Zero(FloatsTag()); });
    ScaleCursor scales(job.scales, panel, part);
    const uint8_t* HWY_RESTRICT low = unpacked + part * kPartBytes;
    const uint8_t* HWY_RESTRICT high = low + (kRadix > 0 ? job.plane_bytes() : 0);
    const int8_t* HWY_RESTRICT x = tile.codes;
    const float* HWY_RESTRICT x_scales = tile.scales;
    const int32_t* HWY_RESTRICT neg_sums = tile.neg_sums;
    for (int64_t g = 0; g < groups;) {
      const Floats scale = scales.next();
      const int64_t end = std::min(g + groups_per_scale, groups);
      for (; g < end; ++g) {
        unroll<kTokens / kStep>([&](auto block) BITSMITH_UNROLLED {
          constexpr size_t kFirst = decltype(block)::value * kStep;
          Ints sum[kStep];
          unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
            sum[t] = hn::Set(IntsTag(), neg_sums[kFirst + t] * offset);
          });
          unroll<kQuads>([&](auto i) BITSMITH_UNROLLED {
            const Bytes w = hn::LoadU(d8, low + i * 64);
            unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
              sum[t] = dot4<kBits>(sum[t], w, load_quad(x + ((kFirst + t) * kQuads + i) * 4));
            });
          });
          if constexpr (kRadix > 0) {
            Ints more[kStep];
            unroll<kStep>([&](auto t) BITSMITH_UNROLLED { more[t] = hn::Zero(IntsTag()); });
            unroll<kQuads>([&](auto i) BITSMITH_UNROLLED {
              const Bytes w = hn::LoadU(d8, high + i * 64);
              unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
                more[t] = dot4<kBits>(more[t], w, load_quad(x + ((kFirst + t) * kQuads + i) * 4));
              });
            });
            unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
              sum[t] = hn::Add(sum[t], hn::ShiftLeft<kRadix>(more[t]));
            });
          }
          unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
            y[kFirst + t] = add_dot(sum[t], scale, x_scales[kFirst + t], y[kFirst + t]);
          });
        });
        low += kQuads * 64;
        high += kQuads * 64;
        x += tile.n * static_cast<int64_t>(kQuads) * 4;
        x_scales += tile.n;
        neg_sums += tile.n;
      }
    }
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
      store_part(job.shape.rows, panel, part, y[t],
                 tile.y + static_cast<int64_t>(t) * job.y_stride);
    });
  }
}

// Calls one(integral_constant<size_t, tokens>, tile) for the tokens of a block, as many at once as
// there are registers for.
template <class One>
HWY_INLINE void for_token_tiles(Tile tile, int64_t group_cols, int64_t y_stride, const One& one) {
  int64_t left = tile.n;
  const auto run = [&](auto count) {
    constexpr auto kTokens = static_cast<int64_t>(decltype(count)::value);
    for (; left >= kTokens; left -= kTokens) {
      one(count, tile);
      tile.advance(kTokens, group_cols, y_stride);
    }
  };
  if constexpr (kPartBytes == 64) run(std::integral_constant<size_t, 16>());
  run(std::integral_constant<size_t, 4>());
  run(std::integral_constant<size_t, 1>());
}

// All tokens of the blocks in range; unpacked: as NumberJob::plane_bytes() says.
template <int kRadix, size_t kGroups>
void multiply_blocks(const NumberJob& job, const PanelRange& range, int64_t panel,
                     const uint8_t* unpacked) {
  for (int64_t block = range.block_begin; block < range.block_end; ++block) {
    for_token_tiles(tile_of(job, panel, block), job.x->group_cols, job.y_stride,
                    [&](auto tokens, const Tile& tile) {
                      multiply_tile<kRadix, kGroups, tokens>(job, panel, unpacked, tile);
                    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_NUMBER_TILE_INL_H_
