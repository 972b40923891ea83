// What convolutions of 8-bit codes compute, whatever their kernel does for a product.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "runtime/kernels/conv_plan.h"
#include "runtime/kernels/requantization.h"

namespace bitsmith {

// y = clamp(y_zero + round(scales[o] * (bias[o] + sum of (x - x_zero) * w))), as requantize() in
// dyadic.h rounds; padding counts as x_zero.
//
// Activations are unsigned codes. Signed ones are the same thing with 128 added to the codes and
// the zero point. A fully connected layer is a convolution of images of one pixel.
template <class Weight>
struct IntegerConvSpec {
  ConvShape shape;
  std::span<const Weight> weights;  // [outputs, channels / groups, kernel_h, kernel_w]
  std::span<const int32_t> bias;    // [outputs], in units of x scale * weight scale; or empty
  std::span<const Dyadic> scales;   // [outputs], x scale * weight scale / y scale
  uint8_t x_zero = 0;
  uint8_t y_zero = 0;
  uint8_t y_min = 0;  // codes; y_zero for a fused ReLU
  uint8_t y_max = 255;
  // Instead of codes, where integers end:
  //     y = clamp(number_scales[o] * float32(bias[o] + sum of (x - x_zero) * w), low, high)
  std::span<const float> number_scales = {};  // [outputs], x scale * weight scale; or empty
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
};
using Int8ConvSpec = IntegerConvSpec<int8_t>;
using ShiftConvSpec = IntegerConvSpec<int32_t>;

// The specifications, in plain C++.  x [images, height, width, channels],
// y [images, out_height, out_width, outputs]
void convolve_int8_reference(const Int8ConvSpec& spec, const uint8_t* x, int64_t images,
                             uint8_t* y);
void convolve_int8_reference(const Int8ConvSpec& spec, const uint8_t* x, int64_t images, float* y);

// Without a multiplication: (x - x_zero) << k for each bit k of |w|, added, or subtracted if w < 0.
void convolve_shift_reference(const ShiftConvSpec& spec, const uint8_t* x, int64_t images,
                              uint8_t* y);
void convolve_shift_reference(const ShiftConvSpec& spec, const uint8_t* x, int64_t images,
                              float* y);

}  // namespace bitsmith
