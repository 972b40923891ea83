#include "runtime/network/integer_layer.h"

#include <algorithm>
#include <cmath>

#include "runtime/kernels/conv_shift.h"

namespace bitsmith {
namespace {

constexpr double kMostUnits = 0x1p30;  // of a bias

// Whether `row` is whole multiples of `unit`, as exactly as float32 can say (a number is within
// 2^-24 of what it stands for, in parts of it, the unit too), and each of them is_wanted.
template <class IsWanted>
bool are_multiples(std::span<const float> row, double unit, const IsWanted& is_wanted) {
  return std::ranges::all_of(row, [&](float w) {
    const double multiple = w / unit;
    const double whole = std::nearbyint(multiple);
    return std::abs(multiple - whole) <= std::abs(whole) * 0x1p-22 && is_wanted(whole);
  });
}

bool is_int8(double whole) { return whole >= -128 && whole <= 127; }

bool is_sum_of_powers(double whole) {
  constexpr double kMost = 0x1p24;
  constexpr int64_t kMostTerms = 4;
  if (std::abs(whole) > kMost) return false;
  const auto code = static_cast<int32_t>(whole);
  return ShiftConv::count_terms({&code, 1}) <= kMostTerms;
}

// The largest unit of a row that is not 0; 0 if there is none.
double find_unit(std::span<const float> row, double extreme) {
  for (int n = 1; n < 128; ++n) {
    const double unit = std::abs(extreme) / n;
    if (are_multiples(row, unit, is_int8)) return unit;
  }
  if (are_multiples(row, extreme / -128, is_int8)) return extreme / -128;
  double smallest = std::abs(extreme);
  for (const float w : row) {
    if (w != 0) smallest = std::min(smallest, std::abs(static_cast<double>(w)));
  }
  for (int n = 1; n < 128; ++n) {
    if (are_multiples(row, smallest / n, is_sum_of_powers)) return smallest / n;
  }
  return 0;
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
                                               std::span<const float> bias, double x_scale,
                                               uint8_t x_zero) {
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
      layer.weights.push_back(static_cast<int32_t>(code));
      layer.is_int8 = layer.is_int8 && is_int8(code);
      magnitudes += std::abs(code);
    }
    const double scale = x_scale * unit;
    const double units = std::nearbyint(own_bias / scale);
    // For products the zero point's share too is part of the sum.
    layer.is_int8 = layer.is_int8 && 2 * 255 * magnitudes + std::abs(units) < 0x1p31;
    const auto own_weights = std::span<const int32_t>(layer.weights).subspan(o * inputs);
    if (!(std::abs(units) < 0x1p31) ||
        !sum_range(own_weights, static_cast<int64_t>(units), x_zero).fits_int32()) {
      return std::nullopt;
    }
    layer.scales.push_back(scale);
    if (!bias.empty()) layer.bias.push_back(static_cast<int32_t>(units));
  }
  return layer;
}

}  // namespace bitsmith
