// Number types as they lie in files, and their conversion to float32.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace bitsmith {

// The element types of safetensors that bitsmith stores or reads.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF64,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kBool,
  kF8E4M3  // tensor/minifloat.h
};

int64_t size_bytes(DType dtype);
std::string_view to_string(DType dtype);                // the safetensors name: "F32", "BF16", ...
bool parse_dtype(std::string_view name, DType& dtype);  // false if the name is not known

// Single conversions. bf16 and f16 are held as their bit patterns.
inline float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// Round to nearest, ties to even; NaN stays NaN.
inline uint16_t float_to_bf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

// IEEE binary16, subnormals included; round to nearest, ties to even; overflow gives infinity.
float f16_to_float(uint16_t bits);
uint16_t float_to_f16(float x);

// Converts `out.size()` elements of type f32, f16, bf16 or f64 at `data`; kUnsupported for others.
void convert_to_float(const std::byte* data, DType dtype, std::span<float> out);

}  // namespace bitsmith
