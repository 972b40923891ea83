// Convolutions and fully connected layers of 8-bit codes, in integers from input to output.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "runtime/kernels/conv_plan.h"
#include "runtime/kernels/requantization.h"

namespace bitsmith {

// y = clamp(y_zero + round(scales[o] * (bias[o] + sum of (x - x_zero) * w))), as requantize() in
// dyadic.h rounds; padding counts as x_zero.
//
// Activations are unsigned codes. Signed ones are the same thing with 128 added to the codes and
// the zero point. A fully connected layer is a convolution of images of one pixel.
struct Int8ConvSpec {
  ConvShape shape;
  std::span<const int8_t> weights;  // [outputs, channels / groups, kernel_h, kernel_w]
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

// The specification, in plain C++.  x [images, height, width, channels],
// y [images, out_height, out_width, outputs]
void convolve_int8_reference(const Int8ConvSpec& spec, const uint8_t* x, int64_t images,
                             uint8_t* y);
void convolve_int8_reference(const Int8ConvSpec& spec, const uint8_t* x, int64_t images, float* y);

// From sums to float32.
struct Int8ToFloat {
  AlignedArray<float> scales;  // [slots]; empty if the results are codes
  float low = 0;
  float high = 0;
};

class Int8Conv {
 public:
  // Packs the weights. Throws kUnsupported if sums could exceed int32.
  explicit Int8Conv(const Int8ConvSpec& spec);

  // The result of convolve_int8_reference(), bit for bit, on every target and for any number of
  // threads. kConvSlackBytes after x must be readable.
  void run(const uint8_t* x, int64_t images, uint8_t* y, ThreadPool& pool) const;
  void run(const uint8_t* x, int64_t images, float* y, ThreadPool& pool) const;  // of number_scales

  const ConvShape& shape() const { return plan_.shape(); }
  std::string_view name() const { return name_; }  // "int8 convolution, AVX-512 VNNI"
  int64_t memory_bytes() const {
    return weights_.bytes() + bias_.bytes() + to_.bytes() + numbers_.scales.bytes();
  }

 private:
  bool depthwise_ = false;
  uint8_t x_zero_ = 0;
  ConvPlan plan_;
  AlignedArray<int8_t> weights_;  // panels, or for depthwise ones see depthwise_int8.h
  AlignedArray<int32_t> bias_;    // [slots], less x_zero * the sum of the weights
  Requantization to_;             // [slots]
  Int8ToFloat numbers_;           // [slots]
  std::string name_;
};

}  // namespace bitsmith
