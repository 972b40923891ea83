#include "tensor/dtype.h"

#include <array>

#include "core/error.h"

namespace bitsmith {
namespace {

struct DTypeRow {
  std::string_view name;
  int64_t size_bytes;
};

// In the order of the enumeration.
constexpr std::array<DTypeRow, 14> kRows = {{{"F32", 4},
                                             {"F16", 2},
                                             {"BF16", 2},
                                             {"F64", 8},
                                             {"U8", 1},
                                             {"I8", 1},
                                             {"U16", 2},
                                             {"I16", 2},
                                             {"U32", 4},
                                             {"I32", 4},
                                             {"U64", 8},
                                             {"I64", 8},
                                             {"BOOL", 1},
                                             {"F8_E4M3", 1}}};

template <class T>
T load(const std::byte* data, size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

int64_t size_bytes(DType dtype) { return kRows[static_cast<size_t>(dtype)].size_bytes; }

std::string_view to_string(DType dtype) { return kRows[static_cast<size_t>(dtype)].name; }

bool parse_dtype(std::string_view name, DType& dtype) {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == name) {
      dtype = static_cast<DType>(i);
      return true;
    }
  }
  return false;
}

float f16_to_float(uint16_t bits) {
  const uint32_t sign = (uint32_t{bits} & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1.0p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t float_to_f16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);   // NaN
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to infinity
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24; adding 0.5 rounds it
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

void convert_to_float(const std::byte* data, DType dtype, std::span<float> out) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out.data(), data, out.size_bytes());
      return;
    case DType::kBF16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = bf16_to_float(load<uint16_t>(data, i));
      return;
    case DType::kF16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = f16_to_float(load<uint16_t>(data, i));
      return;
    case DType::kF64:
      for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(load<double>(data, i));
      return;
    default:
      fail(ErrorCode::kUnsupported, "tensors of type {} cannot be read as numbers",
           to_string(dtype));
  }
}

}  // namespace bitsmith
