// Points of the lattice E8 times int8 activations.
#include <algorithm>
#include <bit>

#include "runtime/kernels/e8_job.h"
#include "runtime/kernels/targets.h"

// The targets of int_panels.cc.
#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/e8_panels.cc"
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

void multiply_panels(const E8Job& job, const PanelRange& range, uint8_t* /*scratch*/) {
  multiply_e8_reference(job, range);
}

#elif HWY_TARGET == HWY_AVX3_DL

// What the signs turn of each pair, by the signs of elements 0 to 6. The last element's, which
// makes their sum even, is the parity of the others; patterns say where it is the other way round.
struct TurnTables {
  alignas(64) uint8_t turned[4][128] = {};
  constexpr TurnTables() {
    for (int q = 0; q < 4; ++q) {
      for (unsigned signs = 0; signs < 128; ++signs) {
        const unsigned all = signs | (std::popcount(signs) & 1u) << 7;
        const unsigned pair = all >> 2 * q;
        turned[q][signs] = static_cast<uint8_t>((pair & 1) * 7 + (pair >> 1 & 1) * 0x70);
      }
    }
  }
};
constexpr TurnTables kTurns;

// The codes of 4 blocks of 16 rows, byte row * 4 + block.
struct Codes {
  HWY_INLINE void load(const uint8_t* HWY_RESTRICT low, const uint8_t* HWY_RESTRICT high) {
    const __m512i signs = _mm512_loadu_si512(low);
    pattern = _mm512_loadu_si512(high);
    upper = _mm512_movepi8_mask(pattern);
    turn = _mm512_srli_epi16(signs, 1);
    shift = Bytes{_mm512_and_si512(signs, _mm512_set1_epi8(1))};
  }

  __m512i pattern;
  __mmask64 upper;
  __m512i turn;
  Bytes shift;  // 1: + 1/4, 0: - 1/4
};

// Elements 2q and 2q + 1 of blocks. An element is 2 u - 7, in halves, where u is its magnitude
// (2 |a| - 1) / 2 plus 4, below 8, with all three bits turned if it is negative.
template <size_t kPair>
class PairTable {
 public:
  HWY_INLINE explicit PairTable(const uint8_t* HWY_RESTRICT patterns) {
    unroll<4>([&](auto i) BITSMITH_UNROLLED {
      patterns_[i] = _mm512_load_si512(patterns + kPair * 256 + i * 64);
    });
  }

  HWY_INLINE void elements(const Codes& codes, Bytes& first, Bytes& second) const {
    const __m512i positive = _mm512_mask_mov_epi8(
        _mm512_permutex2var_epi8(patterns_[0], codes.pattern, patterns_[1]), codes.upper,
        _mm512_permutex2var_epi8(patterns_[2], codes.pattern, patterns_[3]));
    const uint8_t* turns = kTurns.turned[kPair];
    const __m512i turned = kPair < 3  // their signs are among the lowest 6
                               ? _mm512_permutexvar_epi8(codes.turn, _mm512_load_si512(turns))
                               : _mm512_permutex2var_epi8(_mm512_load_si512(turns), codes.turn,
                                                          _mm512_load_si512(turns + 64));
    const Bytes both{_mm512_xor_si512(positive, turned)};
    first = hn::And(both, hn::Set(BytesTag(), 7));
    second = hn::And(shift_left<-4>(both), hn::Set(BytesTag(), 7));
  }

 private:
  __m512i patterns_[4];
};

// One token; kStreams panels are read side by side, as in int_panels.cc. Each element of 4 blocks
// meets its 4 activations; the shifts, one for 8 columns, the sums of these columns' activations.
template <size_t kStreams>
HWY_NOINLINE void multiply_token(const E8Job& job, int64_t panel, int64_t distance,
                                 const Tile& tile) {
  const int64_t high_offset = job.planes->planes[1].offset_bytes;
  const int64_t stride = distance * job.planes->panel_code_bytes;
  const int64_t groups = job.x->groups;
  const uint8_t* codes = job.codes + panel * job.planes->panel_code_bytes;
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
  for (int64_t g = 0; g < groups; ++g, codes += 64) {
    const bool fresh = left == 0;
    left = (fresh ? groups_per_scale : left) - 1;
    const int8_t* HWY_RESTRICT x = job.x_by_element + g * 32;
    const int8_t* HWY_RESTRICT sums = job.block_sums + g * 8;
    Codes c[kStreams];
    Ints dot[kStreams];
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      const uint8_t* low = codes + static_cast<int64_t>(s) * stride;
      prefetch_far(low + 1024);
      prefetch_far(low + high_offset + 1024);
      c[s].load(low, low + high_offset);
      dot[s] = hn::Zero(IntsTag());
    });
    unroll<4>([&](auto pair) BITSMITH_UNROLLED {
      const PairTable<pair> table(job.patterns);
      unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
        Bytes first;
        Bytes second;
        table.elements(c[s], first, second);
        dot[s] = dot4<7>(dot[s], first, load_quad(x + pair * 8));
        dot[s] = dot4<7>(dot[s], second, load_quad(x + pair * 8 + 4));
      });
    });
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      // 4 times the coordinate is 4 u - 15 + 2 shift.
      Ints shift = dot4<7>(hn::Zero(IntsTag()), c[s].shift, load_quad(sums + 4));
      shift = dot4<7>(hn::ShiftLeft<6>(shift), c[s].shift, load_quad(sums));
      const Ints half = hn::Add(hn::Add(dot[s], dot[s]), shift);
      const Ints sum = hn::Add(hn::Add(half, half), hn::Set(IntsTag(), tile.neg_sums[g] * 15));
      if (fresh) scale[s] = scales[s].next();
      y[s] = add_dot(sum, scale[s], tile.scales[g], y[s]);
    });
  }
  unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
    const int64_t on = static_cast<int64_t>(s) * distance;
    store_part(job.shape.rows, panel + on, 0, y[s], tile.y + on * CodePlanes::kPanelRows);
  });
}

// In every lane of 32 bits byte b of v[e] becomes byte e of v[b].
HWY_INLINE void transpose_bytes(Bytes* HWY_RESTRICT v) {
  const __m512i low = _mm512_unpacklo_epi8(v[0].raw, v[1].raw);
  const __m512i high = _mm512_unpackhi_epi8(v[0].raw, v[1].raw);
  const __m512i more_low = _mm512_unpacklo_epi8(v[2].raw, v[3].raw);
  const __m512i more_high = _mm512_unpackhi_epi8(v[2].raw, v[3].raw);
  const __m512i row0 = _mm512_unpacklo_epi16(low, more_low);  // [b][e] of rows 0, 4, 8, 12
  const __m512i row1 = _mm512_unpackhi_epi16(low, more_low);
  const __m512i row2 = _mm512_unpacklo_epi16(high, more_high);
  const __m512i row3 = _mm512_unpackhi_epi16(high, more_high);
  const __m512i a = _mm512_unpacklo_epi32(row0, row1);
  const __m512i b = _mm512_unpackhi_epi32(row0, row1);
  const __m512i c = _mm512_unpacklo_epi32(row2, row3);
  const __m512i d = _mm512_unpackhi_epi32(row2, row3);
  v[0] = Bytes{_mm512_unpacklo_epi64(a, c)};
  v[1] = Bytes{_mm512_unpackhi_epi64(a, c)};
  v[2] = Bytes{_mm512_unpacklo_epi64(b, d)};
  v[3] = Bytes{_mm512_unpackhi_epi64(b, d)};
}

// The numbers of a panel as NumberJob::plane_bytes() says.
HWY_NOINLINE void unpack_panel(const E8Job& job, int64_t panel, uint8_t* HWY_RESTRICT out) {
  const uint8_t* codes = job.codes + panel * job.planes->panel_code_bytes;
  const int64_t high_offset = job.planes->planes[1].offset_bytes;
  for (int64_t g = 0; g < job.x->groups; ++g, codes += 64, out += 512) {
    Codes c;
    c.load(codes, codes + high_offset);
    Bytes u[8];
    unroll<4>([&](auto pair) BITSMITH_UNROLLED {
      PairTable<pair>(job.patterns).elements(c, u[pair * 2], u[pair * 2 + 1]);
    });
    // 4 u - 15 + 2 shift + the offset
    const Bytes rest = hn::Sub(hn::Add(c.shift, c.shift), hn::Set(BytesTag(), 15 - E8Job::kOffset));
    for (Bytes& number : u) number = hn::Add(shift_left<2>(number), rest);
    transpose_bytes(u);
    transpose_bytes(u + 4);
    unroll<8>([&](auto i) BITSMITH_UNROLLED {
      hn::StoreU(u[i % 2 * 4 + i / 2], BytesTag(), out + i * 64);
    });
  }
}

void multiply_panels(const E8Job& job, const PanelRange& range, uint8_t* scratch) {
  if (job.tokens == 1) {
    for_streams<kTokenStreams>(
        range, tile_of(job, range.panel_begin, 0),
        [&](int64_t panel, int64_t distance, auto streams, const Tile& tile) {
          multiply_token<streams>(job, panel, distance, tile);
        });
    return;
  }
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    unpack_panel(job, panel, scratch);
    multiply_blocks<0, 1>(job, range, panel, scratch);
  }
}

#else  // no permutation of so many bytes: point by point

void multiply_panels(const E8Job& job, const PanelRange& range, uint8_t* scratch) {
  const int64_t blocks = ceil_div(job.shape.cols, 8);
  const int64_t high_offset = job.planes->planes[1].offset_bytes;
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    const uint8_t* codes = job.codes + panel * job.planes->panel_code_bytes;
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t row = 0; row < CodePlanes::kPanelRows; ++row) {
        const uint8_t* code = codes + block / 4 * 64 + row * 4 + block % 4;
        float point[8];
        E8Codebook::instance().decode(static_cast<uint16_t>(code[0] | code[high_offset] << 8),
                                      point);
        for (int64_t i = 0; i < 8; ++i) {
          scratch[(block * 2 + i / 4) * 64 + row * 4 + i % 4] =
              static_cast<uint8_t>(static_cast<int>(4.0F * point[i]) + E8Job::kOffset);
        }
      }
    }
    // Quads that no block covers meet activations that are 0.
    std::fill_n(scratch + blocks * 128, job.plane_bytes() - blocks * 128, uint8_t{0});
    multiply_blocks<0, 1>(job, range, panel, scratch);
  }
}

#endif
}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(multiply_panels);

void multiply_e8(const E8Job& job, const PanelRange& range, std::span<uint8_t> scratch) noexcept {
  BITSMITH_ASSERT(static_cast<int64_t>(scratch.size()) >= job.scratch_bytes());
  HWY_DYNAMIC_DISPATCH(multiply_panels)(job, range, align_scratch(scratch.data()));
}

}  // namespace bitsmith
#endif
