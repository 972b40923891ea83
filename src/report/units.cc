#include "report/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace bitsmith {
namespace {

// `value` with three significant digits and the first unit that keeps it below 1000.
template <size_t kCount>
std::string scaled(double value, const std::array<const char*, kCount>& units) {
  size_t unit = 0;
  while (unit + 1 < kCount && value >= 999.5) {
    value /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : (value >= 9.995 ? 1 : 2);
  const std::string number = fmt::format("{:.{}f}", value, decimals);
  return *units[unit] == '\0' ? number : number + ' ' + units[unit];
}

}  // namespace

std::string format_bytes(uint64_t bytes) {
  return scaled<6>(static_cast<double>(bytes), {"B", "kB", "MB", "GB", "TB", "PB"});
}

std::string format_weights(int64_t weights) {
  return scaled<5>(static_cast<double>(weights), {"", "k", "M", "B", "T"});
}

std::string format_count(int64_t count) {
  const std::string digits = std::to_string(count);
  const size_t sign = count < 0 ? 1 : 0;
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > sign && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string format_estimate(double value, double error) {
  if (!(error > 0) || !std::isfinite(error)) return fmt::format("{:#.4g}", value);
  const int decimals = std::clamp(1 - static_cast<int>(std::floor(std::log10(error))), 0, 12);
  return fmt::format("{:.{}f} ± {:.{}f}", value, decimals, error, decimals);
}

}  // namespace bitsmith
