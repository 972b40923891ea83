// Operators that slide a window over an image or a signal.
//
// Layout: [B, C, spatial extents...] of N >= 1 spatial extents (1: signals, 2: images), channels
// first. For each spatial axis with input extent X:
//   output extent = (X + pad_begin + pad_end - dilation * (kernel - 1) - 1) / stride + 1, floored,
//   cell k of the window at output position y lies at input position y * stride - pad_begin +
//   k * dilation; positions outside [0, X) are padding.
// ONNX's ceil_mode is more padding at the end; its count_include_pad is a `pad` before the pooling.
#pragma once

#include "graph/graph.h"

namespace bitsmith::ops {

// Attributes `strides`, `dilations` [N] >= 1 and `pads` [2N] >= 0: all begins, then all ends.
struct Window {
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
};

// Cross-correlation; padding is 0. Attribute `groups` G divides C and O: output channel o reads the
// input channels [g*C/G, (g+1)*C/G) of its group g = o / (O/G).
//   y[b, o, y..] = bias[o] + sum over c, k.. of x[b, g*C/G + c, position..] * weight[o, c, k..]
// x [B, C, X...], weight [O, C/G, K...], bias [O] or kNoValue -> [B, O, Y...]
ValueId conv(Graph& graph, std::string name, ValueId x, ValueId weight, ValueId bias,
             const Window& window, int64_t groups = 1);

// Largest cell of the window; padding is skipped. Attribute `kernel` [N]; each pad is smaller than
// the window's reach dilation * (kernel - 1) + 1, and every window has a cell inside the input.
//   x [B, C, X...] -> [B, C, Y...]
ValueId max_pool(Graph& graph, std::string name, ValueId x, std::vector<int64_t> kernel,
                 const Window& window);

// Mean of the window's cells inside the input; else as max_pool.
ValueId average_pool(Graph& graph, std::string name, ValueId x, std::vector<int64_t> kernel,
                     const Window& window);

// Changes the spatial extents X to `sizes` Y [N] by interpolation, axis by axis. Output position y
// reads the input at u(y), with the axis's entry s of `scales` [N] (Y is about s * X):
//   coordinates "half_pixel"          (y + 1/2) / s - 1/2
//               "pytorch_half_pixel"  the same, but 0 where Y = 1
//               "asymmetric"          y / s
//               "align_corners"       y * (X - 1) / (Y - 1), 0 where Y = 1
//   mode "nearest": x at u rounded by `rounding` ("floor", "ceil", "round_prefer_floor",
//        "round_prefer_ceil": to nearest, halves down or up), clamped to [0, X - 1]
//   mode "linear":  (1 - f) x[i] + f x[i + 1], i = floor(u), f = u - i, both positions clamped
//   x [B, C, X...] -> [B, C, Y...]
struct ResizeOptions {
  std::vector<int64_t> sizes = {};
  std::vector<double> scales = {};
  std::string mode = "nearest";
  std::string coordinates = "half_pixel";
  std::string rounding = "round_prefer_floor";
};
ValueId resize(Graph& graph, std::string name, ValueId x, const ResizeOptions& options);

}  // namespace bitsmith::ops
