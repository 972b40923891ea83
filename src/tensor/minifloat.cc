#include "tensor/minifloat.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bitsmith {

float MiniFloat::decode(uint8_t code) const {
  const int magnitude_bits = exponent_bits + mantissa_bits;
  const int magnitude = code & ((1 << magnitude_bits) - 1);
  if (magnitude > largest_code()) return std::numeric_limits<float>::quiet_NaN();
  const int exponent = magnitude >> mantissa_bits;
  const int mantissa = magnitude & ((1 << mantissa_bits) - 1);
  const int whole = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  const int unit = (exponent == 0 ? 1 : exponent) - bias - mantissa_bits;
  const float value = std::ldexp(static_cast<float>(whole), unit);
  return has_sign && (code >> magnitude_bits & 1) != 0 ? -value : value;
}

uint8_t MiniFloat::encode(float x) const {
  const bool negative = std::signbit(x) && !std::isnan(x);
  if (negative && !has_sign) return 0;
  const float magnitude = std::fabs(x);
  int code = largest_code();
  if (magnitude < largest()) {
    const int smallest = 1 - bias;  // exponent of the smallest normal number
    const int exponent = magnitude > 0 ? std::max(floor_log2(magnitude), smallest) : smallest;
    // In units of the last place; a carry out of the mantissa lands on the next exponent's code.
    const float units = std::ldexp(magnitude, mantissa_bits - exponent);
    code = static_cast<int>(std::nearbyint(units)) + ((exponent - smallest) << mantissa_bits);
  }
  const int sign = negative ? 1 << (exponent_bits + mantissa_bits) : 0;
  return static_cast<uint8_t>(code | sign);
}

int floor_log2(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x) & 0x7fffffffu;
  if (u == 0) return -150;
  const int exponent = static_cast<int>(u >> 23);
  return exponent != 0 ? exponent - 127 : -118 - std::countl_zero(u);
}

}  // namespace bitsmith
