// ggml's blocks of uniform codes times int8 activations.
#include <algorithm>

#include "runtime/kernels/block_job.h"
#include "runtime/kernels/number_job.h"
#include "runtime/kernels/targets.h"

// The targets of int_panels.cc.
#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/block_panels.cc"
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

void multiply_panels(const BlockJob& job, const PanelRange& range, uint8_t* /*scratch*/) {
  multiply_blocks_reference(job, range);
}

#else

// Goes over the sub-blocks of one part of a panel.
template <bool kMin>
class ParameterCursor {
 public:
  ParameterCursor() = default;
  HWY_INLINE ParameterCursor(const BlockJob& job, int64_t panel, size_t part)
      : at_(job.parameters(panel) + part * kPartRows), part_(part * kPartRows) {}

  // d, and m (of no use without minima), which are two bytes a row; before the sub-blocks of a
  // block.
  HWY_INLINE void next_block(Floats& d, Floats& m) {
    d = m = halves(at_ + part_);
    at_ += 32;
    if constexpr (kMin) {
      m = halves(at_ + part_);
      at_ += 32;
    }
  }

  // factor, and min.
  HWY_INLINE void next(Floats& factor, Floats& min) {
    const hn::Rebind<int8_t, IntsTag> d8;
    const hn::Rebind<uint8_t, IntsTag> du8;
    prefetch_far(at_ + 512);
    factor = min = as_floats(hn::LoadU(d8, reinterpret_cast<const int8_t*>(at_)));
    at_ += 16;
    if constexpr (kMin) {
      min = as_floats(hn::LoadU(du8, at_));
      at_ += 16;
    }
  }

 private:
  template <class V>
  static HWY_INLINE Floats as_floats(V bytes) {
    return hn::ConvertTo(FloatsTag(), hn::PromoteTo(IntsTag(), bytes));
  }
  static HWY_INLINE Floats halves(const uint8_t* HWY_RESTRICT in) {
    const hn::Rebind<hwy::float16_t, FloatsTag> dh;
    const hn::Repartition<uint8_t, decltype(dh)> d8;
    return hn::PromoteTo(FloatsTag(), hn::BitCast(dh, hn::LoadU(d8, in)));
  }

  const uint8_t* at_ = nullptr;
  size_t part_ = 0;
};

// The sums of a block, to be multiplied by d and m.
template <bool kMin>
struct BlockSums {
  HWY_INLINE BlockSums() : whole(hn::Zero(FloatsTag())), least(hn::Zero(FloatsTag())) {}

  HWY_INLINE void add(Ints dot, Floats factor, Floats min, int32_t neg_sum, float x_scale) {
    const FloatsTag df;
    whole = hn::MulAdd(hn::ConvertTo(df, dot), hn::Mul(factor, hn::Set(df, x_scale)), whole);
    if constexpr (kMin) {
      least = hn::MulAdd(min, hn::Set(df, static_cast<float>(neg_sum) * x_scale), least);
    }
  }
  HWY_INLINE Floats add_to(Floats y, Floats d, Floats m) const {
    y = hn::MulAdd(d, whole, y);
    if constexpr (kMin) y = hn::MulAdd(m, least, y);
    return y;
  }

  Floats whole;
  Floats least;
};

// One token: codes are used as soon as they are unpacked, and kStreams panels, `distance` from each
// other, are read side by side, as in int_panels.cc. 8 quads are kSubs sub-blocks.
template <int kBits, size_t kSubs, bool kMin, size_t kStreams>
HWY_NOINLINE void multiply_token(const BlockJob& job, int64_t panel, int64_t distance,
                                 const Tile& tile) {
  constexpr size_t kQuads = 8 / kSubs;
  const int64_t blocks = job.planes.shape.cols / job.block_cols;
  const int64_t steps = job.block_cols / 32;
  for (size_t part = 0; part < kParts; ++part) {
    PlaneCursor planes[kStreams];
    ParameterCursor<kMin> parameters[kStreams];
    Floats y[kStreams];
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const int64_t mine = panel + static_cast<int64_t>(s) * distance;
      planes[s] =
          PlaneCursor(job.planes, job.panels + mine * job.panel_bytes() + part * kPartBytes);
      parameters[s] = ParameterCursor<kMin>(job, mine, part);
      y[s] = hn::Zero(FloatsTag());
    });
    const int8_t* HWY_RESTRICT x = tile.codes;
    const float* HWY_RESTRICT x_scales = tile.scales;
    const int32_t* HWY_RESTRICT neg_sums = tile.neg_sums;
    for (int64_t block = 0; block < blocks; ++block) {
      BlockSums<kMin> sums[kStreams];
      Floats d[kStreams];
      Floats m[kStreams];
      unroll<kStreams>([&](auto s) BITSMITH_UNROLLED { parameters[s].next_block(d[s], m[s]); });
      for (int64_t step = 0; step < steps; ++step) {
        unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
          Bytes w[8];
          unpack8<kBits>(planes[s], w);
          unroll<kSubs>([&](auto i) BITSMITH_UNROLLED {
            Ints dot = hn::Set(IntsTag(), neg_sums[i] * job.zero);
            unroll<kQuads>([&](auto q) BITSMITH_UNROLLED {
              constexpr size_t kQuad = decltype(i)::value * kQuads + decltype(q)::value;
              dot = dot4<7>(dot, w[kQuad], load_quad(x + kQuad * 4));
            });
            Floats factor;
            Floats min;
            parameters[s].next(factor, min);
            sums[s].add(dot, factor, min, neg_sums[i], x_scales[i]);
          });
        });
        x += 32;
        x_scales += kSubs;
        neg_sums += kSubs;
      }
      unroll<kStreams>([&](auto s) BITSMITH_UNROLLED { y[s] = sums[s].add_to(y[s], d[s], m[s]); });
    }
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const int64_t on = static_cast<int64_t>(s) * distance;
      store_part(job.planes.shape.rows, panel + on, part, y[s],
                 tile.y + on * CodePlanes::kPanelRows);
    });
  }
}

// The codes of a panel, a byte each, to `out` [quads][64].
template <int kBits>
HWY_NOINLINE void unpack_panel(const BlockJob& job, int64_t panel, uint8_t* HWY_RESTRICT out) {
  for (size_t part = 0; part < kParts; ++part) {
    PlaneCursor planes(job.planes, job.panels + panel * job.panel_bytes() + part * kPartBytes);
    uint8_t* HWY_RESTRICT to = out + part * kPartBytes;
    for (int64_t quad = 0; quad < job.planes.quads; quad += 8, to += 8 * 64) {
      Bytes w[8];
      unpack8<kBits>(planes, w);
      unroll<8>([&](auto i) BITSMITH_UNROLLED { hn::StoreU(w[i], BytesTag(), to + i * 64); });
    }
  }
}

// Unpacked codes times kTokens tokens; the dot products of 4 at a time hide each other's latency.
template <size_t kQuads, bool kMin, size_t kTokens>
HWY_NOINLINE void multiply_tile(const BlockJob& job, int64_t panel,
                                const uint8_t* HWY_RESTRICT unpacked, const Tile& tile) {
  constexpr size_t kStep = kTokens % 4 == 0 ? 4 : 1;
  const int64_t blocks = job.planes.shape.cols / job.block_cols;
  const int64_t subs = job.block_cols / job.sub_cols;
  for (size_t part = 0; part < kParts; ++part) {
    Floats y[kTokens];
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED { y[t] = hn::Zero(FloatsTag()); });
    ParameterCursor<kMin> parameters(job, panel, part);
    const uint8_t* HWY_RESTRICT codes = unpacked + part * kPartBytes;
    const int8_t* HWY_RESTRICT x = tile.codes;
    const float* HWY_RESTRICT x_scales = tile.scales;
    const int32_t* HWY_RESTRICT neg_sums = tile.neg_sums;
    for (int64_t block = 0; block < blocks; ++block) {
      BlockSums<kMin> sums[kTokens];
      Floats d;
      Floats m;
      parameters.next_block(d, m);
      for (int64_t sub = 0; sub < subs; ++sub) {
        Floats factor;
        Floats min;
        parameters.next(factor, min);
        unroll<kTokens / kStep>([&](auto group) BITSMITH_UNROLLED {
          constexpr size_t kFirst = decltype(group)::value * kStep;
          Ints dot[kStep];
          unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
            dot[t] = hn::Set(IntsTag(), neg_sums[kFirst + t] * job.zero);
          });
          unroll<kQuads>([&](auto i) BITSMITH_UNROLLED {
            const Bytes w = hn::LoadU(BytesTag(), codes + i * 64);
            unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
              dot[t] = dot4<7>(dot[t], w, load_quad(x + ((kFirst + t) * kQuads + i) * 4));
            });
          });
          unroll<kStep>([&](auto t) BITSMITH_UNROLLED {
            sums[kFirst + t].add(dot[t], factor, min, neg_sums[kFirst + t], x_scales[kFirst + t]);
          });
        });
        codes += kQuads * 64;
        x += tile.n * static_cast<int64_t>(kQuads) * 4;
        x_scales += tile.n;
        neg_sums += tile.n;
      }
      unroll<kTokens>([&](auto t) BITSMITH_UNROLLED { y[t] = sums[t].add_to(y[t], d, m); });
    }
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
      store_part(job.planes.shape.rows, panel, part, y[t],
                 tile.y + static_cast<int64_t>(t) * job.y_stride);
    });
  }
}

template <int kBits, size_t kSubs, bool kMin>
void multiply_range(const BlockJob& job, const PanelRange& range, uint8_t* scratch) {
  if (job.tokens == 1) {
    for_streams<kTokenStreams>(
        range, tile_of(job, range.panel_begin, 0),
        [&](int64_t panel, int64_t distance, auto streams, const Tile& tile) {
          multiply_token<kBits, kSubs, kMin, decltype(streams)::value>(job, panel, distance, tile);
        });
    return;
  }
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    unpack_panel<kBits>(job, panel, scratch);
    for (int64_t block = range.block_begin; block < range.block_end; ++block) {
      for_token_tiles(tile_of(job, panel, block), job.x->group_cols, job.y_stride,
                      [&](auto tokens, const Tile& tile) {
                        multiply_tile<8 / kSubs, kMin, tokens>(job, panel, scratch, tile);
                      });
    }
  }
}

// The combinations of BlockJob::is_supported().
void multiply_panels(const BlockJob& job, const PanelRange& range, uint8_t* scratch) {
  switch (job.bits) {
    case 2:
      return multiply_range<2, 2, true>(job, range, scratch);
    case 3:
      return multiply_range<3, 2, false>(job, range, scratch);
    case 4:
      return multiply_range<4, 1, true>(job, range, scratch);
    case 5:
      return multiply_range<5, 1, true>(job, range, scratch);
    default:
      return multiply_range<6, 2, false>(job, range, scratch);
  }
}

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(multiply_panels);

void multiply_ggml_blocks(const BlockJob& job, const PanelRange& range,
                          std::span<uint8_t> scratch) noexcept {
  BITSMITH_ASSERT(job.is_supported() &&
                  static_cast<int64_t>(scratch.size()) >= job.scratch_bytes());
  HWY_DYNAMIC_DISPATCH(multiply_panels)(job, range, align_scratch(scratch.data()));
}

}  // namespace bitsmith
#endif
