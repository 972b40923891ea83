#include "runtime/kernels/level_table.h"

#include <algorithm>
#include <cmath>
#include <limits>

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

namespace {

// The median distance from a level to the next.
float median_gap(std::vector<float> levels) {
  std::ranges::sort(levels);
  std::vector<float> gaps;
  for (size_t i = 1; i < levels.size(); ++i) {
    if (levels[i] > levels[i - 1]) gaps.push_back(levels[i] - levels[i - 1]);
  }
  std::ranges::sort(gaps);
  return gaps.empty() ? std::numeric_limits<float>::infinity() : gaps[gaps.size() / 2];
}

}  // namespace

std::vector<LevelTable> make_row_level_tables(std::span<const std::vector<float>> rows) {
  constexpr int32_t kOffset = 128;
  std::vector<LevelTable> tables;
  for (const std::vector<float>& levels : rows) {
    auto wide = make_wide_level_table(levels);
    if (!wide) return {};
    tables.push_back(std::move(*wide));
  }
  const bool fine = std::ranges::all_of(rows, [&](const std::vector<float>& levels) {
    return largest_magnitude(levels) / 127.0F <= median_gap(levels) / 5.0F;
  });
  if (!fine) return tables;
  for (size_t row = 0; row < rows.size(); ++row) {
    LevelTable& table = tables[row];
    table = {.unit = largest_magnitude(rows[row]) / 127.0F, .offset = kOffset};
    for (const float level : rows[row]) {
      const float number = table.unit > 0 ? std::nearbyint(level / table.unit) : 0.0F;
      table.low.push_back(static_cast<uint8_t>(
          static_cast<int32_t>(std::clamp(number, -127.0F, 127.0F)) + kOffset));
    }
  }
  return tables;
}

}  // namespace bitsmith
