#include "encoding/frequencies.h"

#include <algorithm>

namespace bitsmith {

Histogram normalized_frequencies(const Histogram& counts, uint32_t total) {
  uint64_t symbols = 0;
  for (const uint32_t count : counts) symbols += count;
  BITSMITH_ASSERT(symbols > 0);
  Histogram frequencies{};
  uint64_t sum = 0;
  for (size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] == 0) continue;
    frequencies[s] =
        std::max(uint32_t{1}, static_cast<uint32_t>(uint64_t{counts[s]} * total / symbols));
    sum += frequencies[s];
  }
  // count / (frequency + 1/2) of the symbol that gains a unit, count / (frequency - 1/2) of one
  // that loses one; the fractions are compared crosswise.
  const auto more = [&](size_t a, size_t b, int sign) {
    const uint64_t fa = 2 * uint64_t{frequencies[a]} + static_cast<uint64_t>(sign);
    const uint64_t fb = 2 * uint64_t{frequencies[b]} + static_cast<uint64_t>(sign);
    return counts[a] * fb > counts[b] * fa;
  };
  // The symbol that gains most from a unit, and the one that loses least; none without a unit to
  // spare.
  const auto gainer = [&] {
    size_t best = counts.size();
    for (size_t s = 0; s < counts.size(); ++s) {
      if (counts[s] > 0 && (best == counts.size() || more(s, best, 1))) best = s;
    }
    return best;
  };
  const auto loser = [&] {
    size_t best = counts.size();
    for (size_t s = 0; s < counts.size(); ++s) {
      if (frequencies[s] > 1 && (best == counts.size() || more(best, s, -1))) best = s;
    }
    return best;
  };
  for (; sum < total; ++sum) ++frequencies[gainer()];
  for (; sum > total; --sum) --frequencies[loser()];
  // Symbols that were raised to 1 took units from others: exchange while that gains.
  while (true) {
    const size_t to = gainer();
    const size_t from = loser();
    if (from == counts.size()) break;
    const uint64_t gain = counts[to] * (2 * uint64_t{frequencies[from]} - 1);
    const uint64_t loss = counts[from] * (2 * uint64_t{frequencies[to]} + 1);
    if (gain <= loss) break;
    ++frequencies[to];
    --frequencies[from];
  }
  return frequencies;
}

}  // namespace bitsmith
