// ONNX's operators that move elements.
#include <algorithm>
#include <limits>
#include <numeric>

#include "formats/onnx_lowering.h"
#include "formats/onnx_shapes.h"

namespace bitsmith::onnx {
namespace {

void lower_identity(Lowering& node) { node.set(node.value(0)); }

void lower_dropout(Lowering& node) {
  if (node.has(2) &&
      (!node.is_constant(2) || integers_of(node.constant(2)) != std::vector<int64_t>{0})) {
    node.unsupported("training_mode is not false");
  }
  if (node.wants(1)) node.unsupported("its second output, the mask, is used");
  node.set(node.value(0));
}

// The shape is known before the network runs; an extent that is not becomes a mark.
void lower_shape(Lowering& node) {
  std::vector<int64_t> extents;
  for (const int64_t extent : node.shape(0)) {
    extents.push_back(extent == kBatch ? kBatchMark : extent);
  }
  const int64_t rank = static_cast<int64_t>(extents.size());
  const auto position = [&](int64_t x) {
    return std::clamp<int64_t>(x < 0 ? x + rank : x, 0, rank);
  };
  const int64_t begin = position(node.integer("start", 0));
  const int64_t end = std::max(begin, position(node.integer("end", rank)));
  const std::vector<int64_t> part(extents.begin() + begin, extents.begin() + end);
  node.set(node.buffers().integers(kInt64, {end - begin}, part));
}

void lower_size(Lowering& node) {
  const std::optional<int64_t> count = element_count(node.shape(0));
  node.set(node.buffers().integers(kInt64, {}, {count.value_or(kUnknownMark)}));
}

void reshape_to(Lowering& node, const Shape& shape) {
  const ValueId x = node.value(0);
  if (shape == node.shape(0)) return node.set(x);
  node.set(ops::reshape(node.graph(), node.name(), x, shape));
}

void lower_reshape(Lowering& node) {
  const std::vector<int64_t> wanted = node.integers("shape", 1).value_or(std::vector<int64_t>{});
  reshape_to(node, reshaped(node, node.shape(0), wanted));
}
void lower_flatten(Lowering& node) { reshape_to(node, flattened(node, node.shape(0))); }
void lower_squeeze(Lowering& node) { reshape_to(node, squeezed(node, node.shape(0))); }
void lower_unsqueeze(Lowering& node) { reshape_to(node, unsqueezed(node, node.shape(0))); }

void lower_transpose(Lowering& node) {
  node.set(ops::transpose(node.graph(), node.name(), node.value(0),
                          transpose_order(node, node.shape(0).size())));
}

void lower_concat(Lowering& node) {
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < node.inputs(); ++i) inputs.push_back(node.value(i));
  const size_t axis = node.axis(node.integer("axis", 1), node.shape(0).size());
  node.set(ops::concat(node.graph(), node.name(), inputs, static_cast<int64_t>(axis)));
}

// Axes that stay as they are need no slicing.
ValueId sliced(Lowering& node, std::string name, ValueId x, const std::vector<AxisSlice>& slices) {
  ops::SliceOptions options;
  for (const AxisSlice& s : slices) {
    if (s.begin == 0 && s.step == 1 && s.length == node.shape_of(x)[s.axis]) continue;
    if (s.length == 0) node.unsupported("its result is empty");
    options.axes.push_back(static_cast<int64_t>(s.axis));
    options.begins.push_back(s.begin);
    options.steps.push_back(s.step);
    options.lengths.push_back(s.length);
  }
  return options.axes.empty() ? x : ops::slice(node.graph(), std::move(name), x, options);
}

void lower_slice(Lowering& node) {
  const std::vector<AxisSlice> slices = read_slices(node, node.shape(0));
  node.set(sliced(node, node.name(), node.value(0), slices));
}

void lower_split(Lowering& node) {
  const Split split = read_split(node, node.shape(0));
  const ValueId x = node.value(0);
  int64_t begin = 0;
  for (size_t i = 0; i < split.lengths.size(); ++i) {
    const int64_t length = split.lengths[i];
    if (node.wants(i)) {
      node.set(sliced(node, node.name(std::to_string(i)), x, {{split.axis, begin, 1, length}}), i);
    }
    begin += length;
  }
}

// Pads below 0 cut.
void lower_pad(Lowering& node) {
  const Shape shape = node.shape(0);
  const size_t rank = shape.size();
  const std::vector<int64_t> pads = read_pads(node, rank);
  double value = node.number("value", 0);
  if (node.has(2)) {
    const Constant& given = node.constant(2);
    if (given.count() != 1) node.corrupt("the value of the padding is no single number");
    value = numbers_of(given)[0];
  }
  constexpr double kLargest = std::numeric_limits<float>::max();
  value = std::clamp(value, -kLargest, kLargest);
  ValueId x = node.value(0);
  std::vector<AxisSlice> cuts;
  std::vector<int64_t> added = pads;
  bool grows = false;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t before = std::max<int64_t>(0, -pads[i]);
    const int64_t after = std::max<int64_t>(0, -pads[rank + i]);
    added[i] += before;
    added[rank + i] += after;
    grows = grows || added[i] > 0 || added[rank + i] > 0;
    if (before == 0 && after == 0) continue;
    if (shape[i] < 0 || before + after >= shape[i]) node.unsupported("its result is empty");
    cuts.push_back({i, before, 1, shape[i] - before - after});
  }
  x = sliced(node, node.name("cut"), x, cuts);
  if (!grows) return node.set(x);
  node.set(ops::pad(node.graph(), node.name(), x, added, node.text("mode", "constant"), value));
}

// Rows of a constant table are an embedding; one constant index takes a part and drops the axis.
void lower_gather(Lowering& node) {
  const Shape shape = node.shape(0);
  const size_t axis = node.axis(node.integer("axis", 0), shape.size());
  if (node.is_constant(0) && shape.size() == 2 && axis == 0 && !node.is_constant(1)) {
    const ValueId table = node.value(0, "embedding");
    node.set(ops::embedding(node.graph(), node.name(), node.value(1), table));
    return;
  }
  if (node.is_constant(1) && node.shape(1).empty() && shape[axis] > 0) {
    const int64_t index = node.integers(1)[0];
    if (index < -shape[axis] || index >= shape[axis]) {
      node.corrupt(fmt::format("index {} of {}", index, shape[axis]));
    }
    const int64_t begin = index < 0 ? index + shape[axis] : index;
    const ValueId part = sliced(node, node.name("part"), node.value(0), {{axis, begin, 1, 1}});
    Shape rest = shape;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(axis));
    node.set(ops::reshape(node.graph(), node.name(), part, rest));
    return;
  }
  const ValueId x = node.value(0);
  node.set(ops::gather(node.graph(), node.name(), x, node.value(1), static_cast<int64_t>(axis)));
}

void lower_expand(Lowering& node) {
  const Shape& shape = node.shape(0);
  const Shape target = expanded(node, shape);
  const ValueId x = node.value(0);
  if (target == shape) return node.set(x);
  const bool needs_batch = !target.empty() && target[0] == kBatch;
  const ValueId like = needs_batch ? node.batch_value() : kNoValue;
  node.set(ops::expand(node.graph(), node.name(), x, like, target));
}

void lower_tile(Lowering& node) {
  const std::vector<int64_t> repeats = node.integers(1);
  if (repeats.size() != node.shape(0).size()) node.corrupt("repeats do not fit the input");
  ValueId x = node.value(0);
  constexpr int64_t kMaxRepeats = 1024;
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (repeats[i] == 1) continue;
    if (repeats[i] < 1 || repeats[i] > kMaxRepeats) node.unsupported("so many repeats");
    x = ops::concat(node.graph(), node.name("repeated"),
                    std::vector<ValueId>(static_cast<size_t>(repeats[i]), x),
                    static_cast<int64_t>(i));
  }
  node.set(x);
}

// [B, C, H, W]: blocks of b x b positions from channels (DepthToSpace), or the other way round.
void lower_depth_to_space(Lowering& node) {
  const Shape x = node.shape(0);
  const int64_t b = node.integer("blocksize", 0);
  if (x.size() != 4 || b < 1 || b > 1024 || x[1] % (b * b) != 0 || x[2] < 1 || x[3] < 1) {
    node.corrupt(fmt::format("blocks of {} from {}", b, to_string(x)));
  }
  const int64_t c = x[1] / (b * b);
  const bool columns_first = node.text("mode", "DCR") == "CRD";
  Graph& g = node.graph();
  const ValueId split = ops::reshape(
      g, node.name("split"), node.value(0),
      columns_first ? Shape{x[0], c, b, b, x[2], x[3]} : Shape{x[0], b, b, c, x[2], x[3]});
  const ValueId moved = ops::transpose(g, node.name("moved"), split,
                                       columns_first ? std::vector<int64_t>{0, 1, 4, 2, 5, 3}
                                                     : std::vector<int64_t>{0, 3, 4, 1, 5, 2});
  node.set(ops::reshape(g, node.name(), moved, {x[0], c, x[2] * b, x[3] * b}));
}
void lower_space_to_depth(Lowering& node) {
  const Shape x = node.shape(0);
  const int64_t b = node.integer("blocksize", 0);
  if (x.size() != 4 || b < 1 || b > 1024 || x[2] < 1 || x[3] < 1 || x[2] % b != 0 ||
      x[3] % b != 0) {
    node.corrupt(fmt::format("blocks of {} from {}", b, to_string(x)));
  }
  Graph& g = node.graph();
  const ValueId split =
      ops::reshape(g, node.name("split"), node.value(0), {x[0], x[1], x[2] / b, b, x[3] / b, b});
  const ValueId moved = ops::transpose(g, node.name("moved"), split, {0, 3, 5, 1, 2, 4});
  node.set(ops::reshape(g, node.name(), moved, {x[0], x[1] * b * b, x[2] / b, x[3] / b}));
}

const Rules kRules = {
    {"Identity", lower_identity},
    {"Dropout", lower_dropout},
    {"Shape", lower_shape},
    {"Size", lower_size},
    {"Reshape", lower_reshape},
    {"Flatten", lower_flatten},
    {"Squeeze", lower_squeeze},
    {"Unsqueeze", lower_unsqueeze},
    {"Transpose", lower_transpose},
    {"Concat", lower_concat},
    {"Slice", lower_slice},
    {"Split", lower_split},
    {"Pad", lower_pad},
    {"Gather", lower_gather},
    {"Expand", lower_expand},
    {"Tile", lower_tile},
    {"DepthToSpace", lower_depth_to_space},
    {"SpaceToDepth", lower_space_to_depth},
};

}  // namespace
}  // namespace bitsmith::onnx
