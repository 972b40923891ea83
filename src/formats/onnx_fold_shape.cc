// ONNX operators that move elements, computed on constants of any type.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "formats/onnx_shapes.h"

namespace bitsmith::onnx {
namespace {

std::string_view view_of(const Buffers::Buffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

// Distances between neighbours along each axis, in elements.
std::vector<int64_t> strides_of(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// Where the elements of a result lie in a constant: at `begin` plus, for each axis, position times
// stride.
struct Walk {
  Shape shape;
  int64_t begin = 0;
  std::vector<int64_t> strides;
};

Constant walk(Lowering& node, const Constant& x, const Walk& w) {
  const std::optional<int64_t> count = element_count(w.shape);
  const size_t bytes = element_bytes(x.type);
  if (!count || *count > (int64_t{1} << 40)) node.corrupt("its result is too large");
  Buffers::Buffer& buffer = node.buffers().add(static_cast<uint64_t>(*count) * bytes);
  std::vector<int64_t> position(w.shape.size(), 0);
  int64_t source = w.begin;
  for (int64_t i = 0; i < *count; ++i) {
    std::memcpy(buffer.data() + static_cast<size_t>(i) * bytes,
                x.bytes.data() + static_cast<size_t>(source) * bytes, bytes);
    for (size_t axis = w.shape.size(); axis-- > 0;) {
      source += w.strides[axis];
      if (++position[axis] < w.shape[axis]) break;
      source -= w.strides[axis] * w.shape[axis];
      position[axis] = 0;
    }
  }
  return {x.type, w.shape, view_of(buffer)};
}

void fold_to_shape(Lowering& node, Shape shape) {
  Constant x = node.constant(0);
  x.shape = std::move(shape);
  node.set(x);
}

void fold_identity(Lowering& node) { node.set(node.constant(0)); }
void fold_reshape(Lowering& node) {
  const std::vector<int64_t> wanted = node.integers("shape", 1).value_or(std::vector<int64_t>{});
  fold_to_shape(node, reshaped(node, node.shape(0), wanted));
}
void fold_flatten(Lowering& node) { fold_to_shape(node, flattened(node, node.shape(0))); }
void fold_squeeze(Lowering& node) { fold_to_shape(node, squeezed(node, node.shape(0))); }
void fold_unsqueeze(Lowering& node) { fold_to_shape(node, unsqueezed(node, node.shape(0))); }

void fold_transpose(Lowering& node) {
  const Constant& x = node.constant(0);
  const std::vector<int64_t> strides = strides_of(x.shape);
  Walk w;
  for (const int64_t axis : transpose_order(node, x.shape.size())) {
    w.shape.push_back(x.shape[static_cast<size_t>(axis)]);
    w.strides.push_back(strides[static_cast<size_t>(axis)]);
  }
  node.set(walk(node, x, w));
}

Constant cut(Lowering& node, const Constant& x, const std::vector<AxisSlice>& slices) {
  Walk w{x.shape, 0, strides_of(x.shape)};
  for (const AxisSlice& s : slices) {
    w.shape[s.axis] = s.length;
    w.begin += s.begin * w.strides[s.axis];
    w.strides[s.axis] *= s.length > 1 ? s.step : 1;  // a step may be huge where it is never taken
  }
  return walk(node, x, w);
}

void fold_slice(Lowering& node) {
  node.set(cut(node, node.constant(0), read_slices(node, node.shape(0))));
}

void fold_split(Lowering& node) {
  const Split split = read_split(node, node.shape(0));
  int64_t begin = 0;
  for (size_t i = 0; i < split.lengths.size(); ++i) {
    if (node.wants(i)) {
      node.set(cut(node, node.constant(0), {{split.axis, begin, 1, split.lengths[i]}}), i);
    }
    begin += split.lengths[i];
  }
}

void fold_expand(Lowering& node) {
  const Constant& x = node.constant(0);
  const Shape shape = expanded(node, x.shape);
  if (!shape.empty() && shape[0] == kBatch) return rules().at("Expand")(node);
  Walk w{shape, 0, std::vector<int64_t>(shape.size(), 0)};
  const std::vector<int64_t> strides = strides_of(x.shape);
  const size_t offset = shape.size() - x.shape.size();
  for (size_t i = 0; i < x.shape.size(); ++i) {
    if (x.shape[i] != 1) w.strides[offset + i] = strides[i];
  }
  node.set(walk(node, x, w));
}

void fold_concat(Lowering& node) {
  const Constant& first = node.constant(0);
  const size_t axis = node.axis(node.integer("axis", 1), first.shape.size());
  Constant y = first;
  uint64_t bytes = 0;
  for (size_t i = 0; i < node.inputs(); ++i) {
    const Constant& x = node.constant(i);
    Shape shape = x.shape;
    if (shape.size() == first.shape.size()) shape[axis] = first.shape[axis];
    if (x.type != first.type || shape != first.shape) {
      node.corrupt(fmt::format("input {} does not fit the first", i));
    }
    if (i > 0) y.shape[axis] += x.shape[axis];
    if (!is_possible(y.shape)) node.corrupt("its result is too large");
    bytes += x.bytes.size();
  }
  Buffers::Buffer& buffer = node.buffers().add(bytes);
  // Of a result without elements, `outer` may be anything.
  const int64_t outer = bytes == 0 ? 0 : *element_count(std::span(first.shape).first(axis));
  size_t at = 0;
  for (int64_t o = 0; o < outer; ++o) {
    for (size_t i = 0; i < node.inputs(); ++i) {
      const std::string_view part = node.constant(i).bytes;
      const size_t run = part.size() / static_cast<size_t>(outer);
      if (run > 0) std::memcpy(buffer.data() + at, part.data() + static_cast<size_t>(o) * run, run);
      at += run;
    }
  }
  y.bytes = view_of(buffer);
  node.set(y);
}

void fold_gather(Lowering& node) {
  const Constant& x = node.constant(0);
  const size_t axis = node.axis(node.integer("axis", 0), x.shape.size());
  const int64_t extent = x.shape[axis];
  std::vector<int64_t> positions = node.integers(1);
  for (int64_t& position : positions) {
    const int64_t index = position;
    if (position < 0) position += extent;
    if (position < 0 || position >= extent) {
      node.corrupt(fmt::format("index {} of {}", index, extent));
    }
  }
  Shape shape(x.shape.begin(), x.shape.begin() + static_cast<std::ptrdiff_t>(axis));
  shape.insert(shape.end(), node.shape(1).begin(), node.shape(1).end());
  shape.insert(shape.end(), x.shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1, x.shape.end());
  if (!is_possible(shape)) node.corrupt("its result is too large");
  const auto count = static_cast<uint64_t>(*element_count(shape));
  Buffers::Buffer& buffer = node.buffers().add(count * element_bytes(x.type));
  // Of a result without elements, `before` may be anything.
  const int64_t before = count == 0 ? 0 : *element_count(std::span(x.shape).first(axis));
  const auto after = static_cast<size_t>(*element_count(std::span(x.shape).subspan(axis + 1)));
  const size_t run = after * element_bytes(x.type);
  size_t at = 0;
  for (int64_t b = 0; b < before; ++b) {
    for (const int64_t position : positions) {
      std::memcpy(buffer.data() + at,
                  x.bytes.data() + static_cast<size_t>(b * extent + position) * run, run);
      at += run;
    }
  }
  node.set({x.type, shape, view_of(buffer)});
}

void fold_tile(Lowering& node) {
  const Constant& x = node.constant(0);
  const std::vector<int64_t> repeats = node.integers(1);
  if (repeats.size() != x.shape.size()) node.corrupt("repeats do not fit the input");
  // Each axis as two: the repeats, which stand still, and the elements.
  const std::vector<int64_t> strides = strides_of(x.shape);
  Walk w;
  Shape shape;
  for (size_t i = 0; i < repeats.size(); ++i) {
    const auto extent = checked_multiply(static_cast<uint64_t>(std::max<int64_t>(repeats[i], 0)),
                                         static_cast<uint64_t>(x.shape[i]));
    if (!extent || *extent > (uint64_t{1} << 40)) node.corrupt("so many repeats");
    w.shape.insert(w.shape.end(), {std::max<int64_t>(repeats[i], 0), x.shape[i]});
    w.strides.insert(w.strides.end(), {0, strides[i]});
    shape.push_back(static_cast<int64_t>(*extent));
  }
  Constant y = walk(node, x, w);
  y.shape = shape;
  node.set(y);
}

const FoldRules kRules = {
    {"Identity", fold_identity}, {"Reshape", fold_reshape},     {"Flatten", fold_flatten},
    {"Squeeze", fold_squeeze},   {"Unsqueeze", fold_unsqueeze}, {"Transpose", fold_transpose},
    {"Slice", fold_slice},       {"Split", fold_split},         {"Expand", fold_expand},
    {"Concat", fold_concat},     {"Gather", fold_gather},       {"Tile", fold_tile},
};

}  // namespace
}  // namespace bitsmith::onnx
