// Vector codebooks times int8 activations: the entries' numbers by permutations of bytes where
// there are such of 128 bytes, elsewhere one by one.
#include <algorithm>

#include "runtime/kernels/targets.h"
#include "runtime/kernels/vector_job.h"

// The targets of int_panels.cc.
#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/vector_panels.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/number_tile-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR  // vectors of one lane cannot hold a quad

void multiply_panels(const VectorJob& job, const PanelRange& range, uint8_t* /*scratch*/) {
  multiply_vectors_reference(job, range);
}

#else

// The numbers of a panel as NumberJob::plane_bytes() says; those beyond the last block are 0.
void unpack_panel(const VectorJob& job, int64_t panel, uint8_t* HWY_RESTRICT low) {
  uint8_t* HWY_RESTRICT high = low + job.plane_bytes();
  std::fill_n(low, 2 * job.plane_bytes(), uint8_t{0});
  const int64_t blocks = ceil_div(job.shape.cols, job.dim);
  const uint8_t* codes = job.codes + panel * job.planes->panel_code_bytes;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t elements = std::min(job.dim, job.shape.cols - block * job.dim);
    for (int64_t row = 0; row < CodePlanes::kPanelRows; ++row) {
      int32_t numbers[8] = {};
      for (int stage = 0; stage < job.stages; ++stage) {
        const int64_t plane = job.planes->planes[static_cast<size_t>(stage)].offset_bytes;
        const size_t code = codes[plane + block / 4 * 64 + row * 4 + block % 4];
        const uint8_t* table = job.table(stage, 0) + code;
        for (int64_t e = 0; e < elements; ++e) numbers[e] += table[e * VectorJob::kEntries];
      }
      for (int64_t e = 0; e < elements; ++e) {
        const int64_t col = block * job.dim + e;
        const int64_t at = col / 4 * 64 + row * 4 + col % 4;
        low[at] = static_cast<uint8_t>(numbers[e] & 127);
        high[at] = static_cast<uint8_t>(numbers[e] >> VectorJob::kRadixBits);
      }
    }
  }
}

#if HWY_TARGET == HWY_AVX3_DL

// 256 bytes in registers.
struct Table {
  HWY_INLINE explicit Table(const uint8_t* HWY_RESTRICT table)
      : t0(_mm512_load_si512(table)),
        t1(_mm512_load_si512(table + 64)),
        t2(_mm512_load_si512(table + 128)),
        t3(_mm512_load_si512(table + 192)) {}

  // upper: the bytes of code from 128 up.
  HWY_INLINE Bytes operator()(__m512i code, __mmask64 upper) const {
    return Bytes{_mm512_mask_mov_epi8(_mm512_permutex2var_epi8(t0, code, t1), upper,
                                      _mm512_permutex2var_epi8(t2, code, t3))};
  }

  __m512i t0, t1, t2, t3;
};

// One token. A vector of codes is 4 blocks of 16 rows; the numbers of one element of these blocks
// are a vector that meets the activations of that element. kStreams panels are read side by side,
// as in int_panels.cc, and share the tables while these are in registers.
template <int64_t kDim, size_t kStreams>
HWY_NOINLINE void multiply_token(const VectorJob& job, int64_t panel, int64_t distance,
                                 const Tile& tile) {
  constexpr int64_t kVectors = 8 / kDim;  // of codes in a group of activations
  const int64_t groups = job.x->groups;
  const int64_t vectors = job.planes->quads;
  const int64_t stride = distance * job.planes->panel_code_bytes;
  const uint8_t* const codes = job.codes + panel * job.planes->panel_code_bytes;
  const int64_t groups_per_scale = job.groups_per_scale();
  int64_t left = 0;  // groups of activations that the scale is still for
  ScaleCursor scales[kStreams];
  Floats scale[kStreams];
  Floats y[kStreams];
  unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
    constexpr auto kStream = static_cast<int64_t>(decltype(s)::value);
    scales[s] = ScaleCursor(job.scales, panel + kStream * distance, 0);
    scale[s] = hn::Zero(FloatsTag());
    y[s] = hn::Zero(FloatsTag());
  });
  for (int64_t g = 0; g < groups; ++g) {
    const bool fresh = left == 0;
    left = (fresh ? groups_per_scale : left) - 1;
    Ints dot[kStreams];
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      dot[s] = hn::Set(IntsTag(), tile.neg_sums[g] * job.offset);
    });
    const int64_t end = std::min((g + 1) * kVectors, vectors);
    const int8_t* HWY_RESTRICT x = job.x_by_element + g * 32;
    for (int64_t v = g * kVectors; v < end; ++v, x += 4 * kDim) {
      for (int stage = 0; stage < job.stages; ++stage) {
        const uint8_t* at =
            codes + job.planes->planes[static_cast<size_t>(stage)].offset_bytes + v * 64;
        __m512i code[kStreams];
        __mmask64 upper[kStreams];
        unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
          const uint8_t* mine = at + static_cast<int64_t>(s) * stride;
          prefetch_far(mine + 1024);
          code[s] = _mm512_loadu_si512(mine);
          upper[s] = _mm512_movepi8_mask(code[s]);
        });
        unroll<kDim>([&](auto e) BITSMITH_UNROLLED {
          const Bytes quad = load_quad(x + e * 4);
          const Table table(job.table(stage, static_cast<int64_t>(e)));
          unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
            dot[s] = dot4<8>(dot[s], table(code[s], upper[s]), quad);
          });
        });
      }
    }
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      if (fresh) scale[s] = scales[s].next();
      y[s] = add_dot(dot[s], scale[s], tile.scales[g], y[s]);
    });
  }
  unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
    const int64_t on = static_cast<int64_t>(s) * distance;
    store_part(job.shape.rows, panel + on, 0, y[s], tile.y + on * CodePlanes::kPanelRows);
  });
}

template <int64_t kDim>
void multiply_token_panels(const VectorJob& job, const PanelRange& range) {
  for_streams<kTokenStreams>(range, tile_of(job, range.panel_begin, 0),
                             [&](int64_t panel, int64_t distance, auto streams, const Tile& tile) {
                               multiply_token<kDim, streams>(job, panel, distance, tile);
                             });
}

#endif  // HWY_TARGET == HWY_AVX3_DL

void multiply_panels(const VectorJob& job, const PanelRange& range, uint8_t* scratch) {
#if HWY_TARGET == HWY_AVX3_DL
  if (job.tokens == 1) {
    return job.dim == 2   ? multiply_token_panels<2>(job, range)
           : job.dim == 4 ? multiply_token_panels<4>(job, range)
                          : multiply_token_panels<8>(job, range);
  }
#endif
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    unpack_panel(job, panel, scratch);
    multiply_blocks<VectorJob::kRadixBits, 1>(job, range, panel, scratch);
  }
}

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(multiply_panels);

void multiply_vectors(const VectorJob& job, const PanelRange& range,
                      std::span<uint8_t> scratch) noexcept {
  BITSMITH_ASSERT(static_cast<int64_t>(scratch.size()) >= job.scratch_bytes());
  HWY_DYNAMIC_DISPATCH(multiply_panels)(job, range, align_scratch(scratch.data()));
}

}  // namespace bitsmith
#endif
