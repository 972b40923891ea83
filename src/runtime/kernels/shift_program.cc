// Sums of pixels that share a shift, in 16-bit lanes of neighbouring pixels.
#include "runtime/kernels/shift_program.h"

#include <algorithm>

#include "runtime/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/shift_program.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/requantize-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

// finish(position, sum) for all positions.
template <class Finish>
void for_sums(const ShiftProgram& program, const int16_t* x, int64_t positions,
              const Finish& finish) {
  for (int64_t at = 0; at < positions; ++at) {
    auto sum = static_cast<uint32_t>(program.start);
    int32_t part = 0;
    const int32_t* offset = program.offsets;
    for (const ShiftStep& step : program.steps) {
      part <<= step.shift;
      for (int32_t i = 0; i < step.adds; ++i) part += x[at + *offset++];
      for (int32_t i = 0; i < step.subtracts; ++i) part -= x[at + *offset++];
      if (step.exponent < 0) continue;
      sum += static_cast<uint32_t>(part) << step.exponent;
      part = 0;
    }
    finish(at, static_cast<int32_t>(sum));
  }
}

void convolve_to_codes(const ShiftProgram& program, const int16_t* x, int64_t positions,
                       const ShiftToCodes& to, uint8_t* y) {
  for_sums(program, x, positions, [&](int64_t at, int32_t sum) {
    y[at] = requantize(sum, to.scale, to.zero, to.min, to.max);
  });
}

void convolve_to_sums(const ShiftProgram& program, const int16_t* x, int64_t positions,
                      int32_t* y) {
  for_sums(program, x, positions, [&](int64_t at, int32_t sum) { y[at] = sum; });
}

#else

using ShortsTag = hn::Repartition<int16_t, BytesTag>;
using Shorts = hn::Vec<ShortsTag>;
constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(ShortsTag()));  // positions of a vector
// Each takes three registers: a part, and sums of even and odd positions.
constexpr size_t kMostVectors = kParts == 1 ? 8 : 4;

// An output at kCount vectors of positions. finish(i, sums of even positions, of odd ones)
template <size_t kCount, class Finish>
HWY_INLINE void convolve_positions(const ShiftProgram& program, const int16_t* HWY_RESTRICT x,
                                   const Finish& finish) {
  const ShortsTag d16;
  const IntsTag d32;
  Shorts parts[kCount];
  Ints evens[kCount];
  Ints odds[kCount];
  unroll<kCount>([&](auto i) BITSMITH_UNROLLED {
    parts[i] = hn::Zero(d16);
    evens[i] = odds[i] = hn::Set(d32, program.start);
  });
  const int32_t* HWY_RESTRICT offset = program.offsets;
  for (const ShiftStep& step : program.steps) {
    if (step.shift > 0) {
      unroll<kCount>([&](auto i)
                         BITSMITH_UNROLLED { parts[i] = hn::ShiftLeftSame(parts[i], step.shift); });
    }
    for (const int32_t* end = offset + step.adds; offset != end; ++offset) {
      const int16_t* HWY_RESTRICT from = x + *offset;
      unroll<kCount>([&](auto i) BITSMITH_UNROLLED {
        parts[i] = hn::Add(parts[i], hn::LoadU(d16, from + static_cast<int64_t>(i) * kLanes));
      });
    }
    for (const int32_t* end = offset + step.subtracts; offset != end; ++offset) {
      const int16_t* HWY_RESTRICT from = x + *offset;
      unroll<kCount>([&](auto i) BITSMITH_UNROLLED {
        parts[i] = hn::Sub(parts[i], hn::LoadU(d16, from + static_cast<int64_t>(i) * kLanes));
      });
    }
    if (step.exponent < 0) continue;
    unroll<kCount>([&](auto i) BITSMITH_UNROLLED {
      const Ints pair = hn::BitCast(d32, parts[i]);
      const Ints even = hn::ShiftRight<16>(hn::ShiftLeft<16>(pair));
      const Ints odd = hn::ShiftRight<16>(pair);
      evens[i] = hn::Add(evens[i], hn::ShiftLeftSame(even, step.exponent));
      odds[i] = hn::Add(odds[i], hn::ShiftLeftSame(odd, step.exponent));
      parts[i] = hn::Zero(d16);
    });
  }
  unroll<kCount>([&](auto i) BITSMITH_UNROLLED {
    finish(static_cast<int64_t>(i) * kLanes, evens[i], odds[i]);
  });
}

// kCount vectors or, if there are fewer, those.
template <size_t kCount, class Finish>
HWY_INLINE void convolve_last(const ShiftProgram& program, const int16_t* x, int64_t positions,
                              const Finish& finish) {
  if constexpr (kCount > 1) {
    if (positions <= static_cast<int64_t>(kCount - 1) * kLanes) {
      convolve_last<kCount - 1>(program, x, positions, finish);
      return;
    }
  }
  convolve_positions<kCount>(program, x, finish);
}

// Reads and writes up to a vector beyond `positions`. finish(position, sums of even positions from
// there, of odd ones)
template <class Finish>
HWY_INLINE void for_sums(const ShiftProgram& program, const int16_t* x, int64_t positions,
                         const Finish& finish) {
  constexpr int64_t kBlock = static_cast<int64_t>(kMostVectors) * kLanes;
  for (int64_t at = 0; at < positions; at += kBlock) {
    convolve_last<kMostVectors>(program, x + at, positions - at,
                                [&](int64_t i, Ints evens, Ints odds)
                                    BITSMITH_ATTR { finish(at + i, evens, odds); });
  }
}

void convolve_to_codes(const ShiftProgram& program, const int16_t* x, int64_t positions,
                       const ShiftToCodes& to, uint8_t* y) {
  const VectorRequantizer requantizer(to.scale);
  for_sums(program, x, positions, [&](int64_t at, Ints evens, Ints odds) BITSMITH_ATTR {
    const Ints even_codes = requantizer(evens, to.zero, to.min, to.max);
    const Ints odd_codes = requantizer(odds, to.zero, to.min, to.max);
    const Ints both = hn::Or(even_codes, hn::ShiftLeft<16>(odd_codes));
    const hn::Rebind<uint8_t, ShortsTag> d8;
    hn::StoreU(hn::DemoteTo(d8, hn::BitCast(ShortsTag(), both)), d8, y + at);
  });
}

void convolve_to_sums(const ShiftProgram& program, const int16_t* x, int64_t positions,
                      int32_t* y) {
  for_sums(program, x, positions, [&](int64_t at, Ints evens, Ints odds) BITSMITH_ATTR {
    hn::StoreInterleaved2(evens, odds, IntsTag(), y + at);
  });
}

using BlockTag = hn::FixedTag<uint8_t, 16>;
using Block = hn::Vec<BlockTag>;

// Two rounds of a transposition of 8 vectors. After each a vector holds twice as many of the
// inputs, of half as many of their bytes: those of [2 i] come before those of [2 i + 1].
HWY_INLINE void interleave_twice(const Block (&in)[8], Block (&out)[4][2]) {
  const BlockTag d8;
  Block pairs[2][4];
  unroll<4>([&](auto i) BITSMITH_UNROLLED {
    pairs[0][i] = hn::InterleaveLower(d8, in[i], in[i + 4]);
    pairs[1][i] = hn::InterleaveUpper(d8, in[i], in[i + 4]);
  });
  unroll<4>([&](auto i) BITSMITH_UNROLLED {
    constexpr size_t kHalf = decltype(i)::value / 2;
    constexpr size_t kAt = decltype(i)::value % 2;
    const Block& a = pairs[kHalf][kAt];
    const Block& b = pairs[kHalf][kAt + 2];
    out[2 * kHalf][kAt] = hn::InterleaveLower(d8, a, b);
    out[2 * kHalf + 1][kAt] = hn::InterleaveUpper(d8, a, b);
  });
}

// Bytes of 8 pixels, 16 channels each, as int16 of a channel, 8 pixels each.
HWY_INLINE void turn_block(const uint8_t* from, int64_t pixel_step, int16_t* to,
                           int64_t channel_size, int64_t channels) {
  const BlockTag d8;
  const hn::FixedTag<uint8_t, 8> half;
  const hn::FixedTag<int16_t, 8> d16;
  Block pixels[8];
  unroll<8>([&](auto i) BITSMITH_UNROLLED {
    pixels[i] = hn::LoadU(d8, from + static_cast<int64_t>(i) * pixel_step);
  });
  Block fours[4][2];
  interleave_twice(pixels, fours);
  unroll<4>([&](auto i) BITSMITH_UNROLLED {
    const Block low = hn::InterleaveLower(d8, fours[i][0], fours[i][1]);
    const Block high = hn::InterleaveUpper(d8, fours[i][0], fours[i][1]);
    const auto put = [&](size_t channel, Block two) BITSMITH_UNROLLED {
      const auto c = static_cast<int64_t>(channel);
      if (c < channels) {
        hn::StoreU(hn::PromoteTo(d16, hn::LowerHalf(two)), d16, to + c * channel_size);
      }
      if (c + 1 < channels) {
        hn::StoreU(hn::PromoteTo(d16, hn::UpperHalf(half, two)), d16, to + (c + 1) * channel_size);
      }
    };
    put(i * 4, low);
    put(i * 4 + 2, high);
  });
}

// The inverse: codes of 16 outputs, 8 pixels each, as pixels.
HWY_INLINE void turn_back(const uint8_t* from, int64_t stride, int64_t outputs, uint8_t* to,
                          int64_t pixel_step) {
  const BlockTag d8;
  const hn::FixedTag<uint8_t, 8> half;
  Block rows[16];
  unroll<16>([&](auto i) BITSMITH_UNROLLED {
    const int64_t o = std::min(static_cast<int64_t>(i), outputs - 1);
    rows[i] = hn::ZeroExtendVector(d8, hn::LoadU(half, from + o * stride));
  });
  Block a[8];  // [8 pixels][outputs i and i + 8]
  unroll<8>([&](auto i)
                BITSMITH_UNROLLED { a[i] = hn::InterleaveLower(d8, rows[i], rows[i + 8]); });
  Block c[4][2];
  interleave_twice(a, c);
  unroll<4>([&](auto i) BITSMITH_UNROLLED {
    const auto put = [&](int64_t pixel, Block codes) BITSMITH_UNROLLED {
      uint8_t* HWY_RESTRICT out = to + pixel * pixel_step;
      if (HWY_LIKELY(outputs == 16)) {
        hn::StoreU(codes, d8, out);
      } else {
        HWY_ALIGN uint8_t all[16];
        hn::Store(codes, d8, all);
        std::memcpy(out, all, static_cast<size_t>(outputs));
      }
    };
    put(static_cast<int64_t>(i) * 2, hn::InterleaveLower(d8, c[i][0], c[i][1]));
    put(static_cast<int64_t>(i) * 2 + 1, hn::InterleaveUpper(d8, c[i][0], c[i][1]));
  });
}

#endif  // HWY_TARGET != HWY_SCALAR

void pixels_to_planes(const uint8_t* from, int64_t pixel_step, int64_t count, int64_t channels,
                      int16_t* to, int64_t channel_size) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  for (; i + 8 <= count; i += 8) {
    turn_block(from + i * pixel_step, pixel_step, to + i, channel_size, channels);
  }
#endif
  for (; i < count; ++i) {
    for (int64_t c = 0; c < channels; ++c) to[i + c * channel_size] = from[i * pixel_step + c];
  }
}

void codes_to_pixels(const uint8_t* from, int64_t stride, int64_t count, int64_t outputs,
                     uint8_t* to, int64_t pixel_step) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  for (; i + 8 <= count; i += 8) {
    turn_back(from + i, stride, outputs, to + i * pixel_step, pixel_step);
  }
#endif
  for (; i < count; ++i) {
    for (int64_t o = 0; o < outputs; ++o) to[i * pixel_step + o] = from[i + o * stride];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(convolve_to_codes);
HWY_EXPORT(convolve_to_sums);
HWY_EXPORT(pixels_to_planes);
HWY_EXPORT(codes_to_pixels);

void convolve_shift(const ShiftProgram& program, const int16_t* planes, int64_t positions,
                    const ShiftToCodes& to, uint8_t* y) noexcept {
  HWY_DYNAMIC_DISPATCH(convolve_to_codes)(program, planes, positions, to, y);
}

void convolve_shift(const ShiftProgram& program, const int16_t* planes, int64_t positions,
                    int32_t* y) noexcept {
  HWY_DYNAMIC_DISPATCH(convolve_to_sums)(program, planes, positions, y);
}

void turn_pixels(const uint8_t* from, int64_t pixel_step, int64_t count, int64_t channels,
                 int16_t* to, int64_t channel_size) noexcept {
  HWY_DYNAMIC_DISPATCH(pixels_to_planes)(from, pixel_step, count, channels, to, channel_size);
}

void turn_codes(const uint8_t* from, int64_t stride, int64_t count, int64_t outputs, uint8_t* to,
                int64_t pixel_step) noexcept {
  HWY_DYNAMIC_DISPATCH(codes_to_pixels)(from, stride, count, outputs, to, pixel_step);
}

}  // namespace bitsmith
#endif
