// Products with weights that are sums of planes of digits.
#pragma once

#include "codecs/digit_matrix.h"
#include "runtime/kernels/group_scales.h"
#include "runtime/kernels/linear.h"
#include "runtime/kernels/number_job.h"
#include "runtime/kernels/panel_range.h"

namespace bitsmith {

// One product. All groups of activations, of 32 columns, lie inside one group of weights.
struct DigitJob {
  static constexpr size_t kMaxPlanes = 4;

  const DigitMatrix* matrix = nullptr;
  const uint8_t* codes = nullptr;  // of the whole tensor
  GroupScales scales[kMaxPlanes];
  GroupScales mean;
  const Int8Activations* x = nullptr;
  int64_t tokens = 0;
  float* y = nullptr;  // [tokens][y_stride]
  int64_t y_stride = 0;

  int64_t groups_per_scale() const {
    return std::max<int64_t>(1, ceil_div(matrix->layout.group_cols, x->group_cols));
  }
  // Bytes of a panel's digits, one plane: [quads, rounded up to 8][64].
  int64_t plane_bytes() const {
    return ceil_div(matrix->layout.codes.quads, 8) * 8 * CodePlanes::kVectorBytes;
  }
  int64_t scratch_bytes() const { return plane_bytes() * matrix->planes() + 64; }
};

// The specification. For every row r and token t, with g running over the groups of activations and
// p over the planes, both ascending, starting from y = 0:
//     dot = sum over the group's columns of (lowest + step * digit_p[r, c]) * x_code[t, c]
//     y   = fma(float(dot), scale_p * x_scale, y)
// and after the last plane of each group, if there is a mean:
//     y   = fma(float(sum of x_code[t, c]), mean * x_scale, y)
// Bytes of trits from 243 up, which no encoder writes, may have other digits on some targets.
void multiply_digits_reference(const DigitJob& job, const PanelRange& range) noexcept;

}  // namespace bitsmith
