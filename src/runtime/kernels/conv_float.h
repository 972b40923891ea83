// Convolutions and fully connected layers in float32.
#pragma once

#include <limits>
#include <span>
#include <string_view>

#include "runtime/kernels/conv_plan.h"

namespace bitsmith {

// y = clamp(bias[o] + sum of x * w); padding counts as 0.
struct FloatConvSpec {
  ConvShape shape;
  std::span<const float> weights;  // [outputs, channels / groups, kernel_h, kernel_w]
  std::span<const float> bias;     // [outputs]; or empty
  float y_min = -std::numeric_limits<float>::infinity();  // 0 for a fused ReLU
  float y_max = std::numeric_limits<float>::infinity();
};

class FloatConv {
 public:
  explicit FloatConv(const FloatConvSpec& spec);

  //   x [images, height, width, channels], y [images, out_height, out_width, outputs]
  // kConvSlackBytes after x must be readable. Sums start from the bias and run over kernel rows,
  // kernel columns and channels in ascending order by multiply-add, fused where the target can: a
  // pixel's bits do not depend on what else is computed, nor on threads.
  void run(const float* x, int64_t images, float* y, ThreadPool& pool) const;

  const ConvShape& shape() const { return plan_.shape(); }
  std::string_view name() const {
    return depthwise_ ? "float32 depthwise convolution" : "float32 convolution";
  }
  int64_t memory_bytes() const { return weights_.bytes() + bias_.bytes(); }

 private:
  bool depthwise_ = false;
  float y_min_;
  float y_max_;
  ConvPlan plan_;
  AlignedArray<float> weights_;  // panels, or for depthwise ones see depthwise.h
  AlignedArray<float> bias_;     // [slots]
};

}  // namespace bitsmith
