// Convolutions of which most weights are zero, in float32.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/kernels/conv_float.h"
#include "runtime/kernels/conv_planes.h"

namespace bitsmith {

// Only weights that are not zero are multiplied, each with many pixels at a time: images are turned
// into planes (conv_planes.h) and back, which costs as much as some weights for each pixel.
class SparseConv {
 public:
  // Whether it is faster than FloatConv, by measurement (conv_bench): enough zeros, enough pixels.
  static bool pays(const FloatConvSpec& spec);

  explicit SparseConv(const FloatConvSpec& spec);

  // The result of FloatConv, bit for bit, for finite inputs; weights that are zero do not see NaN.
  //   x [images, height, width, channels], y [images, out_height, out_width, outputs]
  void run(const float* x, int64_t images, float* y, ThreadPool& pool) const;

  const ConvShape& shape() const { return shape_; }
  std::string_view name() const { return "float32 sparse convolution"; }
  int64_t memory_bytes() const { return offsets_.bytes() + values_.bytes() + bias_.bytes(); }

 private:
  // Of the channels [first, end).
  void make_planes(const float* image, int64_t first, int64_t end, float* planes) const;

  ConvShape shape_;
  ConvPlanes planes_;
  float y_min_;
  float y_max_;
  std::vector<int64_t> begin_;     // [outputs + 1]: where its weights are
  AlignedArray<int32_t> offsets_;  // [weights], from a position
  AlignedArray<float> values_;     // [weights], by kernel row, kernel column, channel
  AlignedArray<float> bias_;       // [outputs]
};

}  // namespace bitsmith
