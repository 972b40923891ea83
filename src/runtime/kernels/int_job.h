// What a thread needs to know to multiply some panels of the codec `int`.
#pragma once

#include "codecs/int_layout.h"
#include "runtime/kernels/linear.h"
#include "runtime/kernels/panel_range.h"

namespace bitsmith {

// One product. All groups of activations lie inside one group of weights.
struct IntJob {
  const IntLayout* layout = nullptr;
  const uint8_t* bytes = nullptr;  // of the whole tensor
  const Int8Activations* x = nullptr;
  int64_t tokens = 0;
  float* y = nullptr;  // [tokens][y_stride]
  int64_t y_stride = 0;
};

// The specification of the integer kernels, in plain C++. For every row r and token t, with g
// running over the activation groups in ascending order, starting from y = 0:
//     dot = sum over the group's columns of code[r, c] * x_code[t, c]              exact, int32
//     y   = fma(float(dot - zero * sum of x_code), weight_scale * x_scale, y)
// where dot - zero * sum is exact (its magnitude is below 2^22) and weight_scale * x_scale is
// rounded to float32. Targets with fused multiply-add give these bits.
void multiply_int_reference(const IntJob& job, const PanelRange& range) noexcept;

}  // namespace bitsmith
