// Lengths of the best prefix code whose words are no longer than a limit.
#pragma once

#include <array>
#include <cstdint>

#include "encoding/entropy_coder.h"

namespace bitsmith {

using CodeLengths = std::array<uint8_t, 256>;  // bits; 0: the symbol does not occur

// The lengths that minimise sum of counts * lengths with every length at most `limit`, by
// package-merge (Larmore and Hirschberg 1990), O(n log n + n * limit). The words fill the code
// space: sum of 2^-length is 1. At least two symbols must occur, at most 2^limit; ties are broken
// by symbol.
CodeLengths limited_code_lengths(const Histogram& counts, int limit);

}  // namespace bitsmith
