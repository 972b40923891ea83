// Probabilities of symbols as whole numbers of a fixed sum.
#pragma once

#include "encoding/entropy_coder.h"

namespace bitsmith {

// Frequencies that sum to `total`, at least 1 for every symbol that occurs, close to minimising the
// sum of -counts * log2(frequency): after rounding down, single units go where the count for each
// unit is largest (Webster's apportionment, which follows the derivative of the logarithm). Exact
// integer arithmetic: the same on every machine. At least one symbol must occur, at most `total`.
Histogram normalized_frequencies(const Histogram& counts, uint32_t total);

}  // namespace bitsmith
