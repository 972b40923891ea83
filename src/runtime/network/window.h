// Windows that slide over the spatial axes of a tensor: graph/operators_convolution.h in numbers.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "graph/graph.h"
#include "runtime/kernels/conv_plan.h"
#include "tensor/shape.h"

namespace bitsmith {

struct WindowAxis {
  int64_t input = 1;  // extents
  int64_t output = 1;
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t pad_begin = 0;
  int64_t pad_end = 0;
};
using WindowAxes = std::vector<WindowAxis>;  // one for each spatial axis

// Of a conv or pool node that reads a value of shape `x` [B, C, X...].
WindowAxes window_axes(const Node& node, const Shape& x, std::span<const int64_t> kernel);

int64_t window_cells(const WindowAxes& axes);   // of a window whose weights are an array
int64_t window_pixels(const WindowAxes& axes);  // of an output image

// Where output pixel `pixel` (row-major) lies.  strides [axes], in elements
int64_t pixel_offset(const WindowAxes& axes, int64_t pixel, std::span<const int64_t> strides);

// The shape of a kernel for one or two spatial axes; a signal is an image of one row.
template <class KernelShape>
void set_window(const WindowAxes& axes, KernelShape& shape) {
  const WindowAxis vertical = axes.size() == 2 ? axes[0] : WindowAxis();
  const WindowAxis& horizontal = axes.back();
  shape.height = vertical.input;
  shape.width = horizontal.input;
  shape.kernel_h = vertical.kernel;
  shape.kernel_w = horizontal.kernel;
  shape.stride_h = vertical.stride;
  shape.stride_w = horizontal.stride;
  shape.dilation_h = vertical.dilation;
  shape.dilation_w = horizontal.dilation;
  shape.pad_top = vertical.pad_begin;
  shape.pad_left = horizontal.pad_begin;
  shape.pad_bottom = vertical.pad_end;
  shape.pad_right = horizontal.pad_end;
}

// Padded images are copied: refuses a node whose hostile pads ask for more memory than there is.
void check_padding(const Node& node, const ConvShape& shape, size_t element_bytes);

// body(cell, offset) for the cells of the window at output pixel `pixel` that lie in the input, in
// row-major order: the number of the cell in the window, and where it lies in the input.
//   strides [axes], in elements
template <class Body>
void for_cells(const WindowAxes& axes, int64_t pixel, std::span<const int64_t> strides,
               const Body& body) {
  const size_t n = axes.size();
  std::vector<int64_t> begins(n);  // position of the first cell
  std::vector<int64_t> first(n);   // of the cells inside, [first, end)
  std::vector<int64_t> end(n);
  for (size_t a = n; a-- > 0;) {
    const WindowAxis& axis = axes[a];
    begins[a] = pixel % axis.output * axis.stride - axis.pad_begin;
    pixel /= axis.output;
    first[a] = begins[a] < 0 ? ceil_div(-begins[a], axis.dilation) : 0;
    end[a] = std::min(axis.kernel, ceil_div(axis.input - begins[a], axis.dilation));
    if (first[a] >= end[a]) return;
  }
  std::vector<int64_t> index = first;
  while (true) {
    int64_t offset = 0;
    uint64_t cell = 0;  // wraps for windows that are larger than any array, where nobody asks
    for (size_t a = 0; a < n; ++a) {
      cell = cell * static_cast<uint64_t>(axes[a].kernel) + static_cast<uint64_t>(index[a]);
      offset += (begins[a] + index[a] * axes[a].dilation) * strides[a];
    }
    body(static_cast<int64_t>(cell), offset);
    size_t a = n;
    while (a > 0 && ++index[a - 1] == end[a - 1]) {
      index[a - 1] = first[a - 1];
      --a;
    }
    if (a == 0) return;
  }
}

}  // namespace bitsmith
