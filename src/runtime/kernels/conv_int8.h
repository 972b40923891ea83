// Convolutions and fully connected layers of 8-bit codes, in integers from input to output.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/kernels/conv_integer.h"

namespace bitsmith {

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
