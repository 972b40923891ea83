// Points of the lattice E8 times int8 activations.
#include <algorithm>

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

// 4 blocks of 16 rows: a lane of 32 bits is a row, a byte of it a block.
struct Points {
  __m512i magnitudes[2];  // 2 bits for each of elements 0 to 3, and 4 to 7
  __m512i signs[2];       // a bit for each element from 0 on, or from 4 on; 1: negative
  __m512i shifts;         // 1: + 1/4
};

// Where the bits of the quads of block b lie: byte j of 8 (row j / 4 of two, element j % 4) takes 8
// bits of the two rows' 64, from its own on: of a magnitude to bits 0 and 1, of a sign to bit 2.
// What magnitude + 4 * sign means, whatever bits 3 to 5.
struct Tables {
  alignas(64) uint8_t magnitude_bits[4][64] = {};
  alignas(64) uint8_t sign_bits[4][64] = {};
  alignas(64) uint8_t numbers[64] = {};
  constexpr Tables() {
    for (int i = 0; i < 64; ++i) {
      const int row = i / 4 % 2 * 32;
      const int element = i % 4;
      for (int b = 0; b < 4; ++b) {
        magnitude_bits[b][i] = static_cast<uint8_t>(row + b * 8 + element * 2);
        sign_bits[b][i] = static_cast<uint8_t>((row + b * 8 + element + 62) % 64);
      }
      const int coordinate = 4 * (i & 3) + 2;
      numbers[i] = static_cast<uint8_t>(E8Job::kOffset + ((i & 4) != 0 ? -coordinate : coordinate));
    }
  }
};
constexpr Tables kTables;

class Decoder {
 public:
  HWY_INLINE explicit Decoder(const uint8_t* HWY_RESTRICT patterns) {
    for (size_t i = 0; i < 8; ++i) patterns_[i] = _mm512_load_si512(patterns + i * 64);
    for (size_t b = 0; b < 4; ++b) {
      magnitude_bits_[b] = _mm512_load_si512(kTables.magnitude_bits[b]);
      sign_bits_[b] = _mm512_load_si512(kTables.sign_bits[b]);
    }
    numbers_ = _mm512_load_si512(kTables.numbers);
  }

  HWY_INLINE Points points(const uint8_t* HWY_RESTRICT low,
                           const uint8_t* HWY_RESTRICT high) const {
    const __m512i signs = _mm512_loadu_si512(low);
    const __m512i pattern = _mm512_loadu_si512(high);
    const __mmask64 upper = _mm512_movepi8_mask(pattern);
    Points p;
    unroll<2>([&](auto half) BITSMITH_UNROLLED {
      const __m512i* t = patterns_ + half * 4;
      p.magnitudes[half] =
          _mm512_mask_mov_epi8(_mm512_permutex2var_epi8(t[0], pattern, t[1]), upper,
                               _mm512_permutex2var_epi8(t[2], pattern, t[3]));
    });
    // The last element's sign makes the sum even: that of all elements is (odd magnitudes) +
    // (negative elements) modulo 2, up to constants.
    const __m512i odd = _mm512_xor_si512(p.magnitudes[0], p.magnitudes[1]);
    const __m512i bits = _mm512_xor_si512(_mm512_and_si512(odd, _mm512_set1_epi8(0x55)),
                                          _mm512_and_si512(signs, _mm512_set1_epi8(-2)));
    const __m512i parity = _mm512_slli_epi16(_mm512_popcnt_epi8(bits), 7);
    // parity where the mask is 1, else the other
    p.signs[0] = _mm512_ternarylogic_epi32(_mm512_set1_epi8(-128), parity,
                                           _mm512_srli_epi16(signs, 1), 0xca);
    p.signs[1] = _mm512_ror_epi32(p.signs[0], 4);
    p.shifts = _mm512_and_si512(signs, _mm512_set1_epi8(1));
    return p;
  }

  // The numbers of quad kQuad of 8, without the shifts: two quads are a block.
  template <size_t kQuad>
  HWY_INLINE Bytes numbers(const Points& p) const {
    const __m512i magnitude =
        _mm512_multishift_epi64_epi8(magnitude_bits_[kQuad / 2], p.magnitudes[kQuad % 2]);
    const __m512i sign = _mm512_multishift_epi64_epi8(sign_bits_[kQuad / 2], p.signs[kQuad % 2]);
    const __m512i index = _mm512_ternarylogic_epi32(_mm512_set1_epi8(3), magnitude, sign, 0xca);
    return Bytes{_mm512_permutexvar_epi8(index, numbers_)};
  }

  // + 1 or - 1 for a shift of 1/4 up or down, of the block of quad kQuad.
  template <size_t kQuad>
  HWY_INLINE Bytes shifted(const Points& p, Bytes numbers) const {
    const __m512i from = _mm512_set1_epi64(
        static_cast<int64_t>(0x2020202000000000ull + kQuad / 2 * 8 * 0x0101010101010101ull));
    const __m512i shift =
        _mm512_and_si512(_mm512_multishift_epi64_epi8(from, p.shifts), _mm512_set1_epi8(1));
    const __m512i up = _mm512_add_epi8(shift, shift);
    return Bytes{_mm512_sub_epi8(_mm512_add_epi8(numbers.raw, up), _mm512_set1_epi8(1))};
  }

 private:
  __m512i patterns_[8];
  __m512i magnitude_bits_[4];
  __m512i sign_bits_[4];
  __m512i numbers_;
};

// One token; kStreams panels are read side by side, as in int_panels.cc. The shifts, one for 8
// columns, are multiplied by the sums of these columns' activations.
template <size_t kStreams>
HWY_NOINLINE void multiply_token(const E8Job& job, const Decoder& decoder_in, int64_t panel,
                                 int64_t distance, const Tile& tile) {
  const Decoder decoder = decoder_in;
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
    const int8_t* HWY_RESTRICT x = tile.codes + g * 32;
    const int8_t* HWY_RESTRICT sums = job.block_sums + g * 8;
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      constexpr auto kStream = static_cast<int64_t>(decltype(s)::value);
      const uint8_t* low = codes + kStream * stride;
      prefetch_far(low + 1024);
      prefetch_far(low + high_offset + 1024);
      const Points points = decoder.points(low, low + high_offset);
      // Numbers have the offset, shifts are 2 * bit - 1: one for each activation.
      Ints dot = hn::Set(IntsTag(), tile.neg_sums[g] * (E8Job::kOffset + 1));
      unroll<8>([&](auto i) BITSMITH_UNROLLED {
        dot = dot4<7>(dot, decoder.numbers<i>(points), load_quad(x + i * 4));
      });
      const Bytes shifts{points.shifts};
      Ints shift = dot4<7>(hn::Zero(IntsTag()), shifts, load_quad(sums + 4));
      shift = dot4<7>(hn::ShiftLeft<6>(shift), shifts, load_quad(sums));
      dot = hn::Add(dot, hn::Add(shift, shift));
      if (fresh) scale[s] = scales[s].next();
      y[s] = add_dot(dot, scale[s], tile.scales[g], y[s]);
    });
  }
  unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
    const int64_t on = static_cast<int64_t>(s) * distance;
    store_part(job.shape.rows, panel + on, 0, y[s], tile.y + on * CodePlanes::kPanelRows);
  });
}

// The numbers of a panel as NumberJob::plane_bytes() says.
HWY_NOINLINE void unpack_panel(const E8Job& job, const Decoder& decoder_in, int64_t panel,
                               uint8_t* HWY_RESTRICT out) {
  const Decoder decoder = decoder_in;
  const uint8_t* codes = job.codes + panel * job.planes->panel_code_bytes;
  const int64_t high_offset = job.planes->planes[1].offset_bytes;
  for (int64_t g = 0; g < job.x->groups; ++g, codes += 64, out += 512) {
    const Points points = decoder.points(codes, codes + high_offset);
    unroll<8>([&](auto i) BITSMITH_UNROLLED {
      const Bytes numbers = decoder.shifted<i>(points, decoder.numbers<i>(points));
      hn::StoreU(numbers, BytesTag(), out + i * 64);
    });
  }
}

void multiply_panels(const E8Job& job, const PanelRange& range, uint8_t* scratch) {
  const Decoder decoder(job.patterns);
  if (job.tokens == 1) {
    for_streams<2>(range, tile_of(job, range.panel_begin, 0),
                   [&](int64_t panel, int64_t distance, auto streams, const Tile& tile) {
                     multiply_token<streams>(job, decoder, panel, distance, tile);
                   });
    return;
  }
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    unpack_panel(job, decoder, panel, scratch);
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
