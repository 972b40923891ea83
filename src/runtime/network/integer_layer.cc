#include "runtime/network/integer_layer.h"

#include <algorithm>
#include <cmath>

namespace bitsmith {
namespace {

constexpr double kMostUnits = 0x1p30;  // of a bias

// Whether `row` is whole multiples of `unit` in [-128, 127]. A float32 is within 2^-24 of what it
// stands for, in parts of it, the unit too; multiples are at most 128.
bool is_multiple(std::span<const float> row, double unit) {
  return std::ranges::all_of(row, [&](float w) {
    const double multiple = w / unit;
    const double whole = std::nearbyint(multiple);
    return whole <= 127 && std::abs(multiple - whole) <= 0x1p-15;
  });
}

// The largest unit of a row that is not 0; 0 if there is none.
double find_unit(std::span<const float> row, double extreme) {
  for (int n = 1; n < 128; ++n) {
    const double unit = std::abs(extreme) / n;
    if (is_multiple(row, unit)) return unit;
  }
  const double unit = extreme / -128;
  return is_multiple(row, unit) ? unit : 0;
}

// The row's unit, with regard to its bias.
double choose_unit(std::span<const float> row, double bias, double x_scale) {
  double extreme = 0;
  for (const float w : row) {
    if (!std::isfinite(w)) return 0;
    if (std::abs(w) > std::abs(extreme)) extreme = w;
  }
  if (extreme == 0) return bias == 0 ? 1 : std::abs(bias) / (x_scale * 0x1p24);
  const double unit = find_unit(row, extreme);
  const double least = std::abs(bias) / (x_scale * kMostUnits);
  return unit == 0 || std::abs(unit) >= least ? unit : least;
}

}  // namespace

std::optional<IntegerLayer> make_integer_layer(std::span<const float> weights, int64_t outputs,
                                               std::span<const float> bias, double x_scale) {
  const size_t inputs = weights.size() / static_cast<size_t>(outputs);
  IntegerLayer layer;
  layer.weights.reserve(weights.size());
  for (size_t o = 0; o < static_cast<size_t>(outputs); ++o) {
    const std::span<const float> row = weights.subspan(o * inputs, inputs);
    const double own_bias = bias.empty() ? 0 : static_cast<double>(bias[o]);
    const double unit = choose_unit(row, own_bias, x_scale);
    if (unit == 0 || !std::isfinite(own_bias)) return std::nullopt;
    double magnitudes = 0;
    for (const float w : row) {
      const double code = std::nearbyint(w / unit);
      layer.weights.push_back(static_cast<int8_t>(code));
      magnitudes += std::abs(code);
    }
    const double scale = x_scale * unit;
    const double units = std::nearbyint(own_bias / scale);
    // The zero point's share too is part of the sum.
    if (!(2 * 255 * magnitudes + std::abs(units) < 0x1p31)) return std::nullopt;
    layer.scales.push_back(scale);
    if (!bias.empty()) layer.bias.push_back(static_cast<int32_t>(units));
  }
  return layer;
}

}  // namespace bitsmith
