// How far apart two forms of a tensor are.
#pragma once

#include <string>

#include "codecs/codec.h"

namespace bitsmith {

// sqrt(sum (a - b)^2 / sum a^2) over all weights, which both decode in float32; 0 only if all are
// the same, infinite if b is not 0 where all of a is or one of two weights is not finite;
// infinities and NaN of the same bits count as the same. Both have the same shape. Some rows are in
// memory at a time. May be interrupted.
double relative_error(const CodedTensor& a, const CodedTensor& b);

// What became of a tensor in another file.
struct TensorChange {
  std::string tensor;
  std::string from;  // labels of schemes: "int4 g32 sym"
  std::string to;
  double error = 0;  // relative_error(); 0: exact
};

}  // namespace bitsmith
