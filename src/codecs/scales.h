// The number formats of group scales, and the search for the best scale of a group.
#pragma once

#include <cstdint>
#include <string>

#include "core/options.h"

namespace bitsmith {

// Scales are positive. In every format a larger bit pattern is a larger scale, so "the next larger
// scale" is the pattern plus one.
//   f16    binary16, 2 bytes (bit 15 is a sign, which some codecs use)
//   f32    binary32, 4 bytes, as f16
//   e8m0   2^(code - 127), 1 byte; multiplying by it is a shift
//   e4m3   1 byte without sign, times a binary32 that all groups of the tensor share
//   e5m3   the same with a wider range and no sign bit
enum class ScaleFormat : uint8_t { kF16, kE8m0, kE4m3, kE5m3, kF32 };

ScaleFormat parse_scale_format(const std::string& name);
OptionSpec scale_option(const std::string& default_name);

int scale_bytes(ScaleFormat format);
// Whether scales are in units of a number that the whole tensor shares.
inline bool has_tensor_scale(ScaleFormat format) {
  return format == ScaleFormat::kE4m3 || format == ScaleFormat::kE5m3;
}

// One number of that format; a pattern that is none (from a hostile file) gives any float. Without
// a tensor scale, `tensor_scale` must be 1.
float decode_scale(ScaleFormat format, uint32_t pattern, float tensor_scale);
// The largest finite positive pattern.
uint32_t largest_scale(ScaleFormat format);
// The nearest scale, and the largest scale that is not above x. x >= 0; what is out of range gives
// the end of the range. The smallest E8M0 is 2^-127: there is no zero.
uint32_t nearest_scale(ScaleFormat format, float x, float tensor_scale);
uint32_t floor_scale(ScaleFormat format, float x, float tensor_scale);

// The nearest sum ± 2^a or ± 2^a ± 2^b (`words` 1 or 2) to x, binary16; 0 gives 0. For scales and
// levels that multiply by shifting.
float round_to_powers(float x, int words);

// Whether a scale is a floating-point number of many bits, whose neighbours differ by little.
inline bool is_fine_scale(ScaleFormat format) {
  return format == ScaleFormat::kF16 || format == ScaleFormat::kF32;
}

// The least power of two in units of which `largest` (the largest scale a group asks for) is no
// larger than the largest pattern; 0 for tensors that would need subnormal numbers, and no power of
// two where that could overflow. Of a power of two, products with scales and levels are exact, its
// reciprocal is exact, and scales in units of another one are nearly always scales in units of it.
float tensor_scale_for(ScaleFormat format, float largest);

}  // namespace bitsmith
