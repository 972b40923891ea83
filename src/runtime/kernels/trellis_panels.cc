// Values of a trellis' states times int8 activations: a lane of 32 bits is a row, a vector the
// states of one column.
#include <algorithm>
#include <cstring>

#include "runtime/kernels/targets.h"
#include "runtime/kernels/trellis_job.h"

// The targets of int_panels.cc.
#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/trellis_panels.cc"
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

void multiply_panels(const TrellisJob& job, const PanelRange& range, uint8_t* /*scratch*/) {
  multiply_trellis_reference(job, range);
}

#else

// The numbers of a panel as NumberJob::plane_bytes() says.
template <bool kHasHigh>
void unpack_panel(const TrellisJob& job, int64_t panel, uint8_t* HWY_RESTRICT low) {
  const TrellisLayout& layout = *job.layout;
  [[maybe_unused]] uint8_t* HWY_RESTRICT high = low + job.plane_bytes();
  const uint8_t* words = job.words + layout.word_offset(panel * TrellisLayout::kPanelRows, 0);
  const int bits = layout.bits;
  for (int64_t tile = 0; tile < layout.tiles; ++tile) {
    const int64_t cols = layout.tile_cols(tile);
    const int64_t tile_words = cols / 32 * bits;
    for (int64_t row = 0; row < TrellisLayout::kPanelRows; ++row) {
      const auto word_at = [&](int64_t i) {
        uint32_t word;
        std::memcpy(&word, words + i * 64 + row * 4, 4);
        return uint64_t{word};
      };
      uint64_t stream = word_at(tile_words - 1);  // its lowest `unread` bits are to come
      int unread = 0;
      int64_t next = 0;
      for (int64_t c = 0; c < cols; ++c) {
        if (unread < bits) {
          stream = stream << 32 | word_at(next++);
          unread += 32;
        }
        unread -= bits;
        const uint16_t number = job.numbers[stream >> unread & 0xffffu];
        const int64_t col = tile * TrellisLayout::kTileCols + c;
        const int64_t at = col / 4 * 64 + row * 4 + col % 4;
        low[at] = static_cast<uint8_t>(number);
        if constexpr (kHasHigh) high[at] = static_cast<uint8_t>(number >> TrellisJob::kRadixBits);
      }
    }
    words += layout.tile_words() * 64;
  }
}

#if HWY_TARGET == HWY_AVX3_DL

// The states of column kCol of 32 in 16 rows, from the words of these 32 columns and the word
// before. Bits above 16 are 0.
template <int kBits, int kCol>
HWY_INLINE __m512i states(const __m512i* HWY_RESTRICT words, __m512i before) {
  constexpr int kEnd = (kCol + 1) * kBits;
  constexpr int kWord = (kEnd - 1) / 32;
  constexpr int kRight = 32 * (kWord + 1) - kEnd;
  if constexpr (kRight == 16) return _mm512_srli_epi32(words[kWord], 16);
  __m512i shifted;
  if constexpr (kRight < 16) {
    shifted = kRight == 0 ? words[kWord] : _mm512_srli_epi32(words[kWord], kRight);
  } else {
    shifted = _mm512_shrdi_epi32(words[kWord], kWord == 0 ? before : words[kWord - 1], kRight);
  }
  return _mm512_and_si512(shifted, _mm512_set1_epi32(0xffff));
}

// dot + the values of 16 states times one activation, repeated as TrellisJob::x_repeated.
template <bool kMcg>
HWY_INLINE __m512i add_values(__m512i dot, __m512i state, __m512i x) {
  constexpr auto kFactor = static_cast<int>(kMcg ? 0xcbac1fedu : 89226354u);
  __m512i y = _mm512_mullo_epi32(state, _mm512_set1_epi32(kFactor));
  if constexpr (!kMcg) y = _mm512_add_epi32(y, _mm512_set1_epi32(64248484));
  // Two binary16 with the signs, exponents and mantissas of y, exponents from -3 to 0: in units
  // of 2^-13, (1024 + mantissa) << (exponent + 3). The constant that is exclusive-or-ed on turns
  // two bits of the exponent and some of the mantissa.
  y = _mm512_xor_si512(y, _mm512_set1_epi32(0x3b603b60));
  const __m512i mantissa =
      _mm512_ternarylogic_epi32(_mm512_set1_epi16(0x3ff), y, _mm512_set1_epi16(0x400), 0xea);
  const __m512i exponent = _mm512_and_si512(_mm512_srli_epi16(y, 10), _mm512_set1_epi16(3));
  const __m512i magnitude = _mm512_sllv_epi16(mantissa, exponent);
  const __m512i value =
      _mm512_mask_sub_epi16(magnitude, _mm512_movepi16_mask(y), _mm512_setzero_si512(), magnitude);
  return _mm512_dpwssd_epi32(dot, value, x);
}

// The dot product of 32 columns of 16 rows, for codes whose values are sums of halves.
//   words  of these columns;  before: the word before them
template <bool kMcg, int kBits>
struct HalvesDot {
  static constexpr size_t kRepeatedBytes = 4;  // of TrellisJob::x_repeated, for a column

  HWY_INLINE Ints operator()(const __m512i* HWY_RESTRICT words, __m512i before,
                             const uint8_t* HWY_RESTRICT x, int32_t /*neg_sum*/) const {
    __m512i dot = _mm512_setzero_si512();
    unroll<32>([&](auto c) BITSMITH_UNROLLED {
      const __m512i state = states<kBits, static_cast<int>(decltype(c)::value)>(words, before);
      dot = add_values<kMcg>(dot, state, load_quad(x + c * 4).raw);
    });
    return Ints{dot};
  }
};

// Where the states of 4 columns lie in the 64 bits of a row that end with the word of their last
// bit: byte j of 8 is byte j % 2 of the state of column j / 2.
template <int kBits>
struct StateBits {
  alignas(64) uint8_t bits[8][64] = {};
  constexpr StateBits() {
    for (int quad = 0; quad < 8; ++quad) {
      for (int i = 0; i < 64; ++i) {
        const int end = (quad * 4 + i % 8 / 2 + 1) * kBits;
        bits[quad][i] = static_cast<uint8_t>(32 * (word_of(quad) + 1) - end + i % 2 * 8);
      }
    }
  }
  static constexpr int word_of(int quad) { return ((quad + 1) * 4 * kBits - 1) / 32; }
};
template <int kBits>
constexpr StateBits<kBits> kStateBits;

// Sums of 16 rows that begin with the same number, in two vectors, of which each 64 bits hold two
// sums of a row.
struct RowSums {
  HWY_INLINE explicit RowSums(int32_t start) {
    dots[0] = dots[1] = _mm512_maskz_set1_epi32(0x5555, start);
  }
  HWY_INLINE Ints rows() const {
    const __m512 first = _mm512_castsi512_ps(dots[0]);
    const __m512 second = _mm512_castsi512_ps(dots[1]);
    const __m512i even = _mm512_castps_si512(_mm512_shuffle_ps(first, second, 0x88));
    const __m512i odd = _mm512_castps_si512(_mm512_shuffle_ps(first, second, 0xdd));
    return Ints{_mm512_add_epi32(even, odd)};
  }
  __m512i dots[2];
};

// The same for mul1, whose values are sums of bytes: y = x * (a * 2^16 + b) in halves of 16 bits,
// 32 states at a time.
template <int kBits>
struct BytesDot {
  static constexpr size_t kRepeatedBytes = 2;

  HWY_INLINE Ints operator()(const __m512i* HWY_RESTRICT words, __m512i before,
                             const uint8_t* HWY_RESTRICT x, int32_t neg_sum) const {
    const __m512i a = _mm512_set1_epi16(static_cast<int16_t>(0x83dcu));
    const __m512i b = _mm512_set1_epi16(static_cast<int16_t>(0xd12du));
    RowSums sums(neg_sum * TrellisJob::kByteOffset);
    unroll<8>([&](auto quad) BITSMITH_UNROLLED {
      constexpr int kWord = StateBits<kBits>::word_of(static_cast<int>(decltype(quad)::value));
      const __m512i word = words[kWord];
      const __m512i previous = kWord == 0 ? before : words[kWord == 0 ? 0 : kWord - 1];
      const __m512i rows[2] = {_mm512_unpacklo_epi32(word, previous),
                               _mm512_unpackhi_epi32(word, previous)};
      const __m512i bits = _mm512_load_si512(kStateBits<kBits>.bits[quad]);
      int64_t x4;
      std::memcpy(&x4, x + quad * 8, sizeof(x4));
      const __m512i activations = _mm512_set1_epi64(x4);
      unroll<2>([&](auto half) BITSMITH_UNROLLED {
        const __m512i state = _mm512_multishift_epi64_epi8(bits, rows[half]);
        const __m512i low = _mm512_mullo_epi16(state, b);
        const __m512i high =
            _mm512_add_epi16(_mm512_mulhi_epu16(state, b), _mm512_mullo_epi16(state, a));
        sums.dots[half] = _mm512_dpbusd_epi32(sums.dots[half], low, activations);
        sums.dots[half] = _mm512_dpbusd_epi32(sums.dots[half], high, activations);
      });
    });
    return sums.rows();
  }
};

// Where the states of 8 columns lie in the 64 bits of a row that end with the word of their last
// bit: the high bytes, and the low ones.
template <int kBits>
struct StateBytes {
  alignas(64) uint8_t high[4][64] = {};
  alignas(64) uint8_t low[4][64] = {};
  constexpr StateBytes() {
    for (int octet = 0; octet < 4; ++octet) {
      for (int i = 0; i < 64; ++i) {
        const int end = (octet * 8 + i % 8 + 1) * kBits;
        low[octet][i] = static_cast<uint8_t>(32 * (word_of(octet) + 1) - end);
        high[octet][i] = static_cast<uint8_t>(low[octet][i] + 8);
      }
    }
  }
  static constexpr int word_of(int octet) { return ((octet + 1) * 8 * kBits - 1) / 32; }
};
template <int kBits>
constexpr StateBytes<kBits> kStateBytes;

// The same for lookup, 64 states at a time: each 64 bits hold 8 columns of a row.
template <int kBits>
struct LookupDot {
  static constexpr size_t kRepeatedBytes = 1;

  HWY_INLINE LookupDot() {
    for (int half = 0; half < 2; ++half) {
      scramble[half] = _mm512_load_si512(TrellisLookup::kScramble + half * 64);
      const __m512i magnitude = _mm512_load_si512(TrellisLookup::kMagnitude + half * 64);
      below[half] = _mm512_sub_epi8(_mm512_set1_epi8(static_cast<char>(0x80)), magnitude);
    }
  }

  HWY_INLINE Ints operator()(const __m512i* HWY_RESTRICT words, __m512i before,
                             const uint8_t* HWY_RESTRICT x, int32_t neg_sum) const {
    RowSums sums(neg_sum * TrellisJob::kLookupOffset);
    unroll<4>([&](auto octet) BITSMITH_UNROLLED {
      constexpr int kWord = StateBytes<kBits>::word_of(static_cast<int>(decltype(octet)::value));
      const __m512i word = words[kWord];
      const __m512i previous = kWord == 0 ? before : words[kWord == 0 ? 0 : kWord - 1];
      const __m512i rows[2] = {_mm512_unpacklo_epi32(word, previous),
                               _mm512_unpackhi_epi32(word, previous)};
      int64_t x8;
      std::memcpy(&x8, x + octet * 8, sizeof(x8));
      unroll<2>([&](auto half) BITSMITH_UNROLLED {
        const __m512i high = _mm512_multishift_epi64_epi8(
            _mm512_load_si512(kStateBytes<kBits>.high[octet]), rows[half]);
        const __m512i low = _mm512_multishift_epi64_epi8(
            _mm512_load_si512(kStateBytes<kBits>.low[octet]), rows[half]);
        const __m512i level =
            _mm512_xor_si512(high, _mm512_permutex2var_epi8(scramble[0], low, scramble[1]));
        // 128 - magnitude, or, with bit 7, 128 + magnitude.
        const __m512i number = _mm512_permutex2var_epi8(below[0], level, below[1]);
        const __m512i numbers = _mm512_mask_sub_epi8(number, _mm512_movepi8_mask(level),
                                                     _mm512_setzero_si512(), number);
        sums.dots[half] = _mm512_dpbusd_epi32(sums.dots[half], numbers, _mm512_set1_epi64(x8));
      });
    });
    return sums.rows();
  }

  __m512i scramble[2];
  __m512i below[2];
};

// One token; kStreams panels are read side by side, as in int_panels.cc.
template <int kBits, class DotProduct, size_t kStreams>
HWY_NOINLINE void multiply_token(const TrellisJob& job, int64_t panel, int64_t distance,
                                 const Tile& tile) {
  constexpr int64_t kTileGroups = TrellisLayout::kTileCols / 32;
  const TrellisLayout& layout = *job.layout;
  const int64_t groups = job.x->groups;
  const uint8_t* words = job.words + layout.word_offset(panel * TrellisLayout::kPanelRows, 0);
  const int64_t stride = distance * layout.row_words * 64;
  const int64_t groups_per_scale = job.groups_per_scale();
  int64_t left = 0;  // groups of activations that the scale is still for
  const DotProduct product;
  ScaleCursor scales[kStreams];
  Floats scale[kStreams];
  __m512i before[kStreams];
  Floats y[kStreams];
  unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
    constexpr auto kStream = static_cast<int64_t>(decltype(s)::value);
    scales[s] = ScaleCursor(job.scales, panel + kStream * distance, 0);
    scale[s] = hn::Zero(FloatsTag());
    before[s] = _mm512_setzero_si512();
    y[s] = hn::Zero(FloatsTag());
  });
  for (int64_t g = 0; g < groups; ++g) {
    const bool fresh = left == 0;
    left = (fresh ? groups_per_scale : left) - 1;
    const bool starts = g % kTileGroups == 0;  // a tile, whose last word is before its first
    const int64_t last = std::min(kTileGroups, groups - g) * kBits - 1;
    const uint8_t* HWY_RESTRICT x =
        job.x_repeated + g * 32 * static_cast<int64_t>(DotProduct::kRepeatedBytes);
    unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
      constexpr auto kStream = static_cast<int64_t>(decltype(s)::value);
      const uint8_t* mine = words + kStream * stride;
      if (starts) before[s] = _mm512_loadu_si512(mine + last * 64);
      __m512i w[kBits];
      unroll<kBits>([&](auto i) BITSMITH_UNROLLED {
        prefetch_near(mine + i * 64 + 1024);
        w[i] = _mm512_loadu_si512(mine + i * 64);
      });
      const Ints dot = product(w, before[s], x, tile.neg_sums[g]);
      before[s] = w[kBits - 1];
      if (fresh) scale[s] = scales[s].next();
      y[s] = add_dot(dot, scale[s], tile.scales[g], y[s]);
    });
    words += kBits * 64;
  }
  unroll<kStreams>([&](auto s) BITSMITH_UNROLLED {
    const int64_t on = static_cast<int64_t>(s) * distance;
    store_part(job.shape.rows, panel + on, 0, y[s], tile.y + on * CodePlanes::kPanelRows);
  });
}

template <int kBits, class DotProduct>
void multiply_token_panels(const TrellisJob& job, const PanelRange& range) {
  for_streams<2>(range, tile_of(job, range.panel_begin, 0),
                 [&](int64_t panel, int64_t distance, auto streams, const Tile& tile) {
                   multiply_token<kBits, DotProduct, streams>(job, panel, distance, tile);
                 });
}

template <int kBits>
void multiply_token_bits(const TrellisJob& job, const PanelRange& range) {
  switch (job.code) {
    case TrellisJob::Code::k3Inst:
      return multiply_token_panels<kBits, HalvesDot<false, kBits>>(job, range);
    case TrellisJob::Code::kMcg:
      return multiply_token_panels<kBits, HalvesDot<true, kBits>>(job, range);
    case TrellisJob::Code::kMul1:
      return multiply_token_panels<kBits, BytesDot<kBits>>(job, range);
    default:
      return multiply_token_panels<kBits, LookupDot<kBits>>(job, range);
  }
}

#endif  // HWY_TARGET == HWY_AVX3_DL

void multiply_panels(const TrellisJob& job, const PanelRange& range, uint8_t* scratch) {
#if HWY_TARGET == HWY_AVX3_DL
  if (job.tokens == 1) {
    switch (job.layout->bits) {
      case 1:
        return multiply_token_bits<1>(job, range);
      case 2:
        return multiply_token_bits<2>(job, range);
      case 3:
        return multiply_token_bits<3>(job, range);
      default:
        return multiply_token_bits<4>(job, range);
    }
  }
#endif
  for (int64_t panel = range.panel_begin; panel < range.panel_end; ++panel) {
    if (job.radix_bits == TrellisJob::kOneByte) {
      unpack_panel<false>(job, panel, scratch);
      multiply_blocks<TrellisJob::kOneByte, 1>(job, range, panel, scratch);
    } else {
      unpack_panel<true>(job, panel, scratch);
      multiply_blocks<TrellisJob::kRadixBits, 1>(job, range, panel, scratch);
    }
  }
}

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(multiply_panels);

void multiply_trellis(const TrellisJob& job, const PanelRange& range,
                      std::span<uint8_t> scratch) noexcept {
  BITSMITH_ASSERT(static_cast<int64_t>(scratch.size()) >= job.scratch_bytes());
  HWY_DYNAMIC_DISPATCH(multiply_panels)(job, range, align_scratch(scratch.data()));
}

}  // namespace bitsmith
#endif
