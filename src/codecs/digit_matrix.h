// Coded matrices as kernels read them: sums of planes of digits, each with its scale.
#pragma once

#include <optional>

#include "codecs/grouped.h"

namespace bitsmith {

// w = sum over planes p of scale_p of the row's group * (lowest + step * digit_p), plus the group's
// mean. Plane p of the codes has the digits of p; parameter p of a group, binary16, is its scale,
// and the one after the last scale the mean.
struct DigitMatrix {
  GroupedLayout layout;
  int lowest = -1;
  int step = 1;
  bool has_mean = false;

  int planes() const { return layout.codes.plane_count; }
  int base() const { return layout.codes.planes[0].base; }  // 2 or 3
};

// Implemented by codecs beside Codec.
class DigitCodec {
 public:
  virtual ~DigitCodec() = default;
  // Nothing for options under which weights are not of that form.
  virtual std::optional<DigitMatrix> digit_matrix(const MatrixShape& shape,
                                                  const Options& options) const = 0;
};

}  // namespace bitsmith
