#include "encoding/entropy_coder.h"

#include <cmath>

namespace bitsmith {

// Four tables, so that runs of one symbol do not wait for the store of the last count.
Histogram count_symbols(std::span<const uint8_t> symbols) {
  std::array<Histogram, 4> parts{};
  size_t i = 0;
  for (; i + 4 <= symbols.size(); i += 4) {
    for (size_t k = 0; k < 4; ++k) ++parts[k][symbols[i + k]];
  }
  for (; i < symbols.size(); ++i) ++parts[0][symbols[i]];
  Histogram counts{};
  for (const Histogram& part : parts) {
    for (size_t s = 0; s < counts.size(); ++s) counts[s] += part[s];
  }
  return counts;
}

double entropy_bits(const Histogram& counts) {
  double total = 0;
  for (const uint32_t count : counts) total += count;
  double bits = 0;
  for (const uint32_t count : counts) {
    if (count > 0) bits += count * std::log2(total / count);
  }
  return bits;
}

}  // namespace bitsmith
