// Sums of shifted pixels on vectors: the work of ShiftConv for one output channel at a time.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/kernels/dyadic.h"

namespace bitsmith {

// Some terms of an output with one exponent, into a sum of 16 bits:
//     part = part << shift;  part += x at `adds` offsets;  part -= x at `subtracts` offsets
//     and, if exponent >= 0:  sum += part << exponent;  part = 0
struct ShiftStep {
  int16_t shift = 0;
  int16_t exponent = -1;
  int32_t adds = 0;
  int32_t subtracts = 0;
};

// Of one output channel.
struct ShiftProgram {
  std::span<const ShiftStep> steps;
  const int32_t* offsets;  // of all steps, one after the other, in elements from a position
  int32_t start;           // the sum before the first
};

// How sums become codes: requantize().
struct ShiftToCodes {
  Dyadic scale;
  int32_t zero;
  int32_t min;
  int32_t max;
};

// What vectors may read or write beyond the last position, in elements.
inline constexpr int64_t kShiftSlack = 64;

// One output at positions [0, positions) of planes (conv_planes.h).
void convolve_shift(const ShiftProgram& program, const int16_t* planes, int64_t positions,
                    const ShiftToCodes& to, uint8_t* y) noexcept;
void convolve_shift(const ShiftProgram& program, const int16_t* planes, int64_t positions,
                    int32_t* y) noexcept;

// `count` pixels, `pixel_step` bytes apart, of up to 16 channels, into planes. May read 16 bytes of
// each pixel.
void turn_pixels(const uint8_t* from, int64_t pixel_step, int64_t count, int64_t channels,
                 int16_t* to, int64_t channel_size) noexcept;

// The inverse for codes: planes, `stride` apart, of up to 16 outputs into pixels.
void turn_codes(const uint8_t* from, int64_t stride, int64_t count, int64_t outputs, uint8_t* to,
                int64_t pixel_step) noexcept;

}  // namespace bitsmith
