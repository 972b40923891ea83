// Integer codes read at fewer bits.
#pragma once

#include "codecs/int_layout.h"

namespace bitsmith {

// Double rounding: a code of b bits, rounded once when it was made, is rounded again to n < b bits,
//     q' = clamp(round((q - zero) / 2^k) + zero'),  scale' = scale * 2^k,  k = b - n
// where zero' is zero rounded likewise (2^(n-1) if symmetric), so that 0 stays 0. Huang et al. 2025
// (Double Rounding), arXiv:2502.01199. Ties go to the even number: for small k they are many, and
// upwards they would shift all weights of a layer. A code is off by at most half a step more than
// one made of the weight itself, but where it is clamped.
//   in   bytes of `from`, perhaps hostile;  out: those of `to`, the same but for 2 or more bits
void read_int_codes(const IntLayout& from, const uint8_t* in, const IntLayout& to, uint8_t* out);

}  // namespace bitsmith
