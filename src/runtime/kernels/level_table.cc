#include "runtime/kernels/level_table.h"

#include <algorithm>
#include <cmath>

namespace bitsmith {
namespace {

float largest_magnitude(std::span<const float> levels) {
  float largest = 0;
  for (const float level : levels) largest = std::max(largest, std::fabs(level));
  return largest;
}

// numbers: level / unit, whole.
LevelTable split(float unit, std::span<const int32_t> numbers, int32_t offset) {
  LevelTable table{.unit = unit, .offset = offset};
  for (const int32_t n : numbers) {
    const int32_t number = n + offset;
    table.high.push_back(static_cast<uint8_t>(number >> 7));
    table.low.push_back(static_cast<uint8_t>(number & 127));
    table.wide = table.wide || number > 127;
  }
  return table;
}

// The levels as multiples of the largest power of two that divides all, if that needs 14 bits at
// most.
std::optional<LevelTable> exact(std::span<const float> levels, float largest) {
  const int exponent = std::ilogb(largest);
  for (int digits = 0; digits < 14; ++digits) {
    const float unit = std::ldexp(1.0F, exponent - digits);
    std::vector<int32_t> numbers;
    for (const float level : levels) {
      const float number = level / unit;
      if (number != std::nearbyint(number)) break;
      numbers.push_back(static_cast<int32_t>(number));
    }
    if (numbers.size() < levels.size()) continue;
    const int32_t lowest = *std::ranges::min_element(numbers);
    if (*std::ranges::max_element(numbers) - lowest >= 1 << 14) return std::nullopt;
    return split(unit, numbers, -lowest);
  }
  return std::nullopt;
}

}  // namespace

std::optional<LevelTable> make_wide_level_table(std::span<const float> levels) {
  if (!std::ranges::all_of(levels, [](float x) { return std::isfinite(x); })) return std::nullopt;
  const float unit = largest_magnitude(levels) / static_cast<float>(kWideOffset);
  std::vector<int32_t> numbers;
  for (const float level : levels) {
    const float number = unit > 0 ? std::nearbyint(level / unit) : 0.0F;
    numbers.push_back(static_cast<int32_t>(
        std::clamp(number, static_cast<float>(-kWideOffset), static_cast<float>(kWideOffset))));
  }
  LevelTable table = split(unit, numbers, kWideOffset);
  table.wide = true;
  return table;
}

std::optional<LevelTable> make_level_table(std::span<const float> levels) {
  if (!std::ranges::all_of(levels, [](float x) { return std::isfinite(x); })) return std::nullopt;
  const float largest = largest_magnitude(levels);
  if (largest >= 0x1p-100F) {
    if (auto table = exact(levels, largest)) return table;
  }
  return make_wide_level_table(levels);
}

}  // namespace bitsmith
