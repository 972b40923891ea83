// Convolutions of 3x3 kernels with fewer products, in float32: Winograd's minimal filtering.
#pragma once

#include <string_view>
#include <vector>

#include "runtime/kernels/conv_float.h"

namespace bitsmith {

// F(4x4, 3x3) of Lavin and Gray 2016, arXiv 1509.09308, section 4: 4 x 4 output pixels of a channel
// take 36 products instead of 144, between transforms that cost as much as 32 products a value.
// Rounding: some twenty times that of the largest sum of magnitudes in a tile.
class WinogradConv {
 public:
  // 3x3, neither strides, dilations nor groups, channels and outputs multiples of 16.
  static bool can(const ConvShape& shape);
  // Whether it is faster than FloatConv, by measurement (conv_bench): enough channels and pixels.
  static bool pays(const ConvShape& shape);

  explicit WinogradConv(const FloatConvSpec& spec);

  //   x [images, height, width, channels], y [images, out_height, out_width, outputs]
  // A tile's bits do not depend on what else is computed, nor on threads.
  void run(const float* x, int64_t images, float* y, ThreadPool& pool) const;

  const ConvShape& shape() const { return shape_; }
  std::string_view name() const { return "float32 Winograd convolution"; }
  int64_t memory_bytes() const;

 private:
  ConvShape shape_;
  float y_min_;
  float y_max_;
  AlignedArray<float> bias_;         // [outputs]
  std::vector<FloatConv> products_;  // over channels, for each of the 36 places of a tile
};

}  // namespace bitsmith
