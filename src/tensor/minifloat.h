// Floating-point numbers of at most 8 bits, and the power-of-two scale E8M0.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace bitsmith {

// A sign (if any), `exponent_bits` and `mantissa_bits`, from the highest bit down:
//     exponent field E = 0:  mantissa * 2^(1 - bias - mantissa_bits)               (subnormal)
//     otherwise:             (1 + mantissa / 2^mantissa_bits) * 2^(E - bias)
// The `reserved` largest magnitudes are no numbers: what IEEE 754 gives to infinity and NaN.
struct MiniFloat {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  int reserved = 0;
  bool has_sign = true;

  constexpr int bits() const { return exponent_bits + mantissa_bits + (has_sign ? 1 : 0); }
  // The code of the largest number, without sign.
  constexpr int largest_code() const {
    return (1 << (exponent_bits + mantissa_bits)) - 1 - reserved;
  }
  // The exponent of the largest number: floor(log2(largest())).
  constexpr int largest_exponent() const { return (largest_code() >> mantissa_bits) - bias; }
  float largest() const { return decode(static_cast<uint8_t>(largest_code())); }

  // Bits above bits() are ignored; a reserved code is NaN (also where IEEE 754 has infinities).
  float decode(uint8_t code) const;
  // The nearest number, ties to the even code; beyond the largest number: that number; NaN gives
  // the largest. A format without sign gives 0 for negative numbers.
  uint8_t encode(float x) const;
};

// OCP 8-bit floating point 1.0 and OCP Microscaling formats 1.0.
inline constexpr MiniFloat kE2M1{2, 1, 1};      // 0 .5 1 1.5 2 3 4 6
inline constexpr MiniFloat kE2M3{2, 3, 1};      // up to 7.5
inline constexpr MiniFloat kE3M2{3, 2, 3};      // up to 28
inline constexpr MiniFloat kE4M3{4, 3, 7, 1};   // up to 448
inline constexpr MiniFloat kE5M2{5, 2, 15, 4};  // up to 57344
// Scales of blocks: E4M3 with the sign bit 0 (NVFP4), and with a wider range instead of the sign.
inline constexpr MiniFloat kUE4M3{4, 3, 7, 1, false};
inline constexpr MiniFloat kUE5M3{5, 3, 15, 1, false};

// E8M0: 2^(code - 127), code 255 is NaN (OCP Microscaling formats 1.0, section 5.4.1).
inline float e8m0_to_float(uint8_t code) {
  if (code == 0) return 0x1.0p-127F;
  return std::bit_cast<float>(code == 255 ? 0x7fc00000u : uint32_t{code} << 23);
}
// The code of 2^exponent, clamped to the powers there are.
inline uint8_t e8m0_of_exponent(int exponent) {
  return static_cast<uint8_t>(exponent < -127 ? 0 : exponent > 127 ? 254 : exponent + 127);
}
// floor(log2(x)) for finite x > 0, subnormals included; -150 for 0.
int floor_log2(float x);

}  // namespace bitsmith
