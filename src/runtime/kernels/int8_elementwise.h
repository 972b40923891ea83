// Operators between convolutions on 8-bit codes, on one thread: callers split work among threads.
// Unsigned codes stand for scale * (code - zero point); outputs may be their inputs' memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "runtime/kernels/dyadic.h"

namespace bitsmith {

// y = clamp(y_zero + round(a_scale * (a - a_zero) + b_scale * (b - b_zero))): both products are
// added before the one rounding, see DyadicPair. Scales are those of the inputs over the output's.
struct Int8Add {
  DyadicPair scales;
  int32_t a_zero = 0;
  int32_t b_zero = 0;
  int32_t y_zero = 0;
  int32_t y_min = 0;
  int32_t y_max = 255;

  uint8_t operator()(uint8_t a, uint8_t b) const {
    const int32_t sum = (a - a_zero) * scales.a_multiplier + (b - b_zero) * scales.b_multiplier;
    const int32_t rounded = (sum + (int32_t{1} << (scales.shift - 1))) >> scales.shift;
    return static_cast<uint8_t>(std::clamp(rounded + y_zero, y_min, y_max));
  }
};
void add(const Int8Add& add, const uint8_t* a, const uint8_t* b, int64_t count,
         uint8_t* y) noexcept;

// y = clamp(y_zero + round(scale * (a - a_zero) * (b - b_zero)))
struct Int8Multiply {
  Dyadic scale;
  int32_t a_zero = 0;
  int32_t b_zero = 0;
  int32_t y_zero = 0;
  int32_t y_min = 0;
  int32_t y_max = 255;

  uint8_t operator()(uint8_t a, uint8_t b) const {
    return requantize((a - a_zero) * (b - b_zero), scale, y_zero, y_min, y_max);
  }
};
void multiply(const Int8Multiply& multiply, const uint8_t* a, const uint8_t* b, int64_t count,
              uint8_t* y) noexcept;

// y = table[x]: any function of one value, also a change of scale.
using Int8Table = std::array<uint8_t, 256>;
void look_up(const Int8Table& table, const uint8_t* x, int64_t count, uint8_t* y) noexcept;

// The change of scale round(scale * (code - x_zero)) + y_zero as a table.
Int8Table rescaling_table(double scale, int32_t x_zero, int32_t y_zero);

// code = clamp(zero + round(x / scale)), ties to even as in ONNX, NaN as 0;  scale > 0
void quantize(const float* x, float scale, int32_t zero, int64_t count, uint8_t* y) noexcept;

// scale * (code - zero)
void dequantize(const uint8_t* x, float scale, int32_t zero, int64_t count, float* y) noexcept;

}  // namespace bitsmith
