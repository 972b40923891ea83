// What ONNX's shape operators ask for, worked out once for lowering and for folding.
#pragma once

#include "formats/onnx_lowering.h"

namespace bitsmith::onnx {

// Shapes that input 0, of shape `x`, becomes. kBatch may come first in `x` and in the result;
// kUnsupported if the result needs another extent that is not fixed.
Shape reshaped(const Lowering& node, const Shape& x, const std::vector<int64_t>& wanted);
Shape flattened(const Lowering& node, const Shape& x);
Shape squeezed(const Lowering& node, const Shape& x);
Shape unsqueezed(const Lowering& node, const Shape& x);
Shape expanded(const Lowering& node, const Shape& x);  // to the shape in input 1

std::vector<int64_t> transpose_order(const Lowering& node, size_t rank);

// Elements begin + i * step, 0 <= i < length, of an axis; length may be 0.
struct AxisSlice {
  size_t axis;
  int64_t begin;
  int64_t step;
  int64_t length;
};
std::vector<AxisSlice> read_slices(const Lowering& node, const Shape& x);  // of Slice, by axis

struct Split {
  size_t axis;
  std::vector<int64_t> lengths;  // of each output
};
Split read_split(const Lowering& node, const Shape& x);

std::vector<int64_t> read_pads(const Lowering& node,
                               size_t rank);  // begins, then ends, of all axes

}  // namespace bitsmith::onnx
