#include "codecs/scales.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "codecs/int_fit.h"
#include "core/error.h"
#include "tensor/dtype.h"
#include "tensor/minifloat.h"

namespace bitsmith {
namespace {

const MiniFloat& minifloat(ScaleFormat format) {
  return format == ScaleFormat::kE4m3 ? kUE4M3 : kUE5M3;
}

}  // namespace

ScaleFormat parse_scale_format(const std::string& name) {
  if (name == "f16") return ScaleFormat::kF16;
  if (name == "f32") return ScaleFormat::kF32;
  if (name == "e8m0") return ScaleFormat::kE8m0;
  if (name == "e4m3") return ScaleFormat::kE4m3;
  BITSMITH_ASSERT(name == "e5m3");
  return ScaleFormat::kE5m3;
}

OptionSpec scale_option(const std::string& default_name) {
  return {"scale",
          default_name,
          "type of a group's scale; e8m0: a power of two; e4m3, e5m3: in units of one binary32",
          -1e300,
          1e300,
          {"f16", "e8m0", "e4m3", "e5m3", "f32"}};
}

int scale_bytes(ScaleFormat format) {
  return format == ScaleFormat::kF32 ? 4 : format == ScaleFormat::kF16 ? 2 : 1;
}

float decode_scale(ScaleFormat format, uint32_t pattern, float tensor_scale) {
  switch (format) {
    case ScaleFormat::kF16:
      return f16_to_float(static_cast<uint16_t>(pattern));
    case ScaleFormat::kF32:
      return std::bit_cast<float>(pattern);
    case ScaleFormat::kE8m0:
      return e8m0_to_float(static_cast<uint8_t>(pattern));
    default:
      return minifloat(format).decode(static_cast<uint8_t>(pattern)) * tensor_scale;
  }
}

uint32_t largest_scale(ScaleFormat format) {
  switch (format) {
    case ScaleFormat::kF16:
      return 0x7bff;
    case ScaleFormat::kF32:
      return 0x7f7fffff;
    case ScaleFormat::kE8m0:
      return 254;
    default:
      return static_cast<uint32_t>(minifloat(format).largest_code());
  }
}

uint32_t nearest_scale(ScaleFormat format, float x, float tensor_scale) {
  switch (format) {
    case ScaleFormat::kF16:
      return float_to_f16(round_to_f16(x));
    case ScaleFormat::kF32:
      return std::bit_cast<uint32_t>(std::min(x, std::numeric_limits<float>::max()));
    case ScaleFormat::kE8m0: {
      const uint32_t below = floor_scale(format, x, 1.0F);
      const float power = e8m0_to_float(static_cast<uint8_t>(below));
      return below < 254 && x / power >= 1.5F ? below + 1 : below;
    }
    default:
      if (tensor_scale == 0.0F) return 0;
      return minifloat(format).encode(x / tensor_scale);
  }
}

uint32_t floor_scale(ScaleFormat format, float x, float tensor_scale) {
  switch (format) {
    case ScaleFormat::kF16:
      return float_to_f16(truncate_to_f16(x));
    case ScaleFormat::kF32:
      return nearest_scale(format, x, 1.0F);
    case ScaleFormat::kE8m0:
      return e8m0_of_exponent(floor_log2(x));
    default: {
      const uint32_t nearest = nearest_scale(format, x, tensor_scale);
      return nearest > 0 && decode_scale(format, nearest, tensor_scale) > x ? nearest - 1 : nearest;
    }
  }
}

float round_to_powers(float x, int words) {
  const float magnitude = std::min(std::fabs(x), 32768.0F);
  if (magnitude < 0x1p-24F) return 0.0F;
  const float below = std::ldexp(1.0F, floor_log2(magnitude));
  float best = 0.0F;
  for (const float first : {below, 2.0F * below}) {
    const float rest = magnitude - first;
    const float second = words > 1 ? round_to_powers(rest, words - 1) : 0.0F;
    const float sum = std::min(round_to_f16(first + second), 32768.0F);
    if (std::fabs(magnitude - sum) < std::fabs(magnitude - best)) best = sum;
  }
  return std::copysign(best, x);
}

float tensor_scale_for(ScaleFormat format, float largest) {
  if (!has_tensor_scale(format)) return 1.0F;
  const float scale = largest / minifloat(format).largest();
  if (!(scale >= 0x1p-100F)) return 0.0F;
  if (scale > 0x1p100F) return std::bit_cast<float>(std::bit_cast<uint32_t>(scale) & ~0xffu);
  const float power = std::ldexp(1.0F, floor_log2(scale));
  return power < scale ? 2 * power : power;
}

}  // namespace bitsmith
