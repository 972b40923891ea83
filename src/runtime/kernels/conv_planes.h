// Images as planes, for kernels that take one weight at a time for many pixels.
#pragma once

#include <cstdint>

#include "runtime/kernels/conv_plan.h"

namespace bitsmith {

// A channel's neighbouring pixels lie side by side, so that one weight serves all lanes of a
// register whatever the other weights are:
//
//     [channels][phases][images][rows][width]
//
// For strides the padded image is cut into its phases, one for each (row mod stride, column mod
// stride): what a tap reads for neighbouring output pixels lies side by side then. A phase is one
// row of elements, its rows and images end to end: a tap is one offset for all pixels, whose
// POSITIONS are counted likewise. (Those between the end of an output row and the next are computed
// for nothing.)
struct ConvPlanes {
  ConvPlanes() = default;
  ConvPlanes(const ConvShape& shape, int64_t image_count)
      : images(image_count),
        width(ceil_div(shape.padded_width(), shape.stride_w)),
        image_size(ceil_div(shape.padded_height(), shape.stride_h) * width),
        channel_size(shape.stride_h * shape.stride_w * images * image_size),
        image_positions((shape.out_height() - 1) * width + shape.out_width()) {}

  int64_t images = 0;
  int64_t width = 0;
  int64_t image_size = 0;    // of a phase
  int64_t channel_size = 0;  // all phases of all images
  int64_t image_positions = 0;

  // From the first output pixel of `count` images to the last.
  int64_t positions(int64_t count) const { return (count - 1) * image_size + image_positions; }

  // Of the element of a padded image's channel.
  int64_t offset(const ConvShape& shape, int64_t row, int64_t col) const {
    const int64_t phase = row % shape.stride_h * shape.stride_w + col % shape.stride_w;
    return phase * images * image_size + row / shape.stride_h * width + col / shape.stride_w;
  }
  int64_t tap_offset(const ConvShape& shape, int64_t tap) const {
    return offset(shape, tap / shape.kernel_w * shape.dilation_h,
                  tap % shape.kernel_w * shape.dilation_w);
  }
};

}  // namespace bitsmith
