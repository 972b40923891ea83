// Pooling of images over windows, 8-bit codes and float32.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "runtime/kernels/dyadic.h"
#include "tensor/shape.h"

namespace bitsmith {

// Images are [height, width, channels]. Padding takes no part: a maximum or mean is over the cells
// of a window that lie in the image, at least one.
struct PoolShape {
  int64_t channels = 0;
  int64_t height = 1;
  int64_t width = 1;
  int64_t kernel_h = 1;
  int64_t kernel_w = 1;
  int64_t stride_h = 1;
  int64_t stride_w = 1;
  int64_t dilation_h = 1;
  int64_t dilation_w = 1;
  int64_t pad_top = 0;
  int64_t pad_left = 0;
  int64_t pad_bottom = 0;
  int64_t pad_right = 0;

  int64_t out_height() const {
    return (pad_top + height + pad_bottom - (kernel_h - 1) * dilation_h - 1) / stride_h + 1;
  }
  int64_t out_width() const {
    return (pad_left + width + pad_right - (kernel_w - 1) * dilation_w - 1) / stride_w + 1;
  }

  // The cells of a window on one axis: begin, begin + step, ..., below end.
  struct Window {
    int64_t begin = 0;
    int64_t end = 0;
    int64_t step = 1;
    int64_t count() const { return begin < end ? ceil_div(end - begin, step) : 0; }
  };
  Window rows(int64_t out) const {
    return window(out * stride_h - pad_top, kernel_h, dilation_h, height);
  }
  Window cols(int64_t out) const {
    return window(out * stride_w - pad_left, kernel_w, dilation_w, width);
  }

 private:
  static Window window(int64_t begin, int64_t kernel, int64_t dilation, int64_t size) {
    const int64_t end = std::min(size, begin + (kernel - 1) * dilation + 1);
    if (begin < 0) begin += ceil_div(-begin, dilation) * dilation;
    return {begin, end, dilation};
  }
};

// x [images, height, width, channels] -> y [images, out_height, out_width, channels], on one
// thread: callers split images among threads.
void max_pool(const PoolShape& shape, const float* x, int64_t images, float* y) noexcept;
void max_pool(const PoolShape& shape, const uint8_t* x, int64_t images, uint8_t* y) noexcept;

// Sums of a window are added row by row, then divided by the count.
void average_pool(const PoolShape& shape, const float* x, int64_t images, float* y) noexcept;

// y = clamp(y_zero + round(scale / n * sum of (x - x_zero))), n cells, as
// requantize() in dyadic.h rounds: the division and the change of scale are one rounding.
struct Int8AveragePool {
  Int8AveragePool(const PoolShape& shape, double scale, uint8_t x_zero, uint8_t y_zero);

  PoolShape shape;
  std::vector<Dyadic> scales;  // by the number of cells; [0] is not used
  uint8_t x_zero;
  uint8_t y_zero;
  uint8_t y_min = 0;
  uint8_t y_max = 255;
};
void average_pool(const Int8AveragePool& pool, const uint8_t* x, int64_t images,
                  uint8_t* y) noexcept;

}  // namespace bitsmith
