// How far apart two forms of a tensor are.
#pragma once

#include "codecs/codec.h"

namespace bitsmith {

// sqrt(sum (a - b)^2 / sum a^2) over all weights, which both decode in float32; 0 only if all are
// the same, infinite if b is not 0 where all of a is. Both have the same shape. Some rows are in
// memory at a time.
double relative_error(const CodedTensor& a, const CodedTensor& b);

}  // namespace bitsmith
