// Shapes of convolutions, for tests and benchmarks.
#pragma once

#include "runtime/kernels/conv_plan.h"

namespace bitsmith {

// Of square images, kernels, strides and paddings.
inline ConvShape square(int64_t channels, int64_t size, int64_t outputs, int64_t kernel,
                        int64_t stride, int64_t padding) {
  ConvShape s;
  s.channels = channels;
  s.height = s.width = size;
  s.outputs = outputs;
  s.kernel_h = s.kernel_w = kernel;
  s.stride_h = s.stride_w = stride;
  s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = padding;
  return s;
}

inline ConvShape grouped(ConvShape s, int64_t groups) {
  s.groups = groups;
  return s;
}

inline ConvShape dilated(ConvShape s, int64_t h, int64_t w) {
  s.dilation_h = h;
  s.dilation_w = w;
  return s;
}

}  // namespace bitsmith
