#include "formats/onnx_shapes.h"

#include <algorithm>
#include <numeric>

namespace bitsmith::onnx {
namespace {

constexpr int64_t kMaxExtent = int64_t{1} << 40;

// The product of all extents but a leading kBatch, or nothing.
std::optional<int64_t> known_count(const Shape& x) {
  const bool batch = !x.empty() && x[0] == kBatch;
  return element_count(std::span(x).subspan(batch ? 1 : 0));
}

void check_rank(const Lowering& node, size_t rank) {
  if (rank > kMaxRank) node.unsupported(fmt::format("a tensor of {} extents", rank));
}

}  // namespace

// Entries: 0 keeps x's extent (unless allowzero), -1 or an unknown one is whatever is left, the
// batch is the batch.
Shape reshaped(const Lowering& node, const Shape& x, const std::vector<int64_t>& wanted) {
  check_rank(node, wanted.size());
  const bool keeps = node.integer("allowzero", 0) == 0;
  Shape shape = wanted;
  std::optional<size_t> open;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && keeps) {
      if (i >= x.size()) node.corrupt("it keeps an extent that is not there");
      shape[i] = x[i];
    } else if (shape[i] == kBatchMark) {
      shape[i] = kBatch;
    } else if (shape[i] == -1 || shape[i] == kUnknownMark) {
      if (open) node.corrupt("two extents are left open");
      open = i;
    } else if (shape[i] < 0 || shape[i] > kMaxExtent) {
      node.corrupt(fmt::format("an extent of {}", shape[i]));
    }
  }
  const bool batch = !x.empty() && x[0] == kBatch;
  const bool has_batch = std::ranges::count(shape, kBatch) > (open && wanted[*open] == -1 ? 1 : 0);
  const std::optional<int64_t> total = known_count(x);
  if (open) {
    shape[*open] = 1;
    Shape known;
    for (const int64_t extent : shape) {
      if (extent != kBatch) known.push_back(extent);
    }
    const std::optional<int64_t> rest = element_count(known);
    if (!total || !rest || *rest == 0 || *total % *rest != 0) {
      node.unsupported(fmt::format("{} cannot become [{}]", to_string(x), fmt::join(wanted, ", ")));
    }
    shape[*open] = batch && !has_batch && *total == *rest ? kBatch : *total / *rest;
  }
  const bool first = !shape.empty() && shape[0] == kBatch;
  if (std::ranges::count(shape, kBatch) != (batch ? 1 : 0) || first != batch) {
    node.unsupported(
        fmt::format("{} cannot become [{}] for every batch; export the network with a fixed batch",
                    to_string(x), fmt::join(wanted, ", ")));
  }
  if (known_count(shape) != total) {
    node.corrupt(fmt::format("{} cannot become {}", to_string(x), to_string(shape)));
  }
  return shape;
}

Shape flattened(const Lowering& node, const Shape& x) {
  const int64_t axis = node.integer("axis", 1);
  const size_t rank = x.size();
  const size_t at = axis == static_cast<int64_t>(rank) ? rank : node.axis(axis, rank);
  const auto count = [&](size_t begin, size_t end) {
    const std::optional<int64_t> product = element_count(std::span(x).subspan(begin, end - begin));
    if (!product) node.unsupported("it joins the batch, whose extent is not fixed, with others");
    return *product;
  };
  const bool batch = rank > 0 && x[0] == kBatch;
  return {batch && at == 1 ? kBatch : count(0, at), count(at, rank)};
}

Shape squeezed(const Lowering& node, const Shape& x) {
  std::vector<bool> gone(x.size(), false);
  const auto axes = node.integers("axes", 1);
  for (const int64_t axis : axes.value_or(std::vector<int64_t>{})) {
    const size_t at = node.axis(axis, x.size());
    if (x[at] != 1) node.corrupt(fmt::format("axis {} of {} is not 1", axis, to_string(x)));
    gone[at] = true;
  }
  Shape shape;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!gone[i] && (axes || x[i] != 1)) shape.push_back(x[i]);
  }
  return shape;
}

Shape unsqueezed(const Lowering& node, const Shape& x) {
  const auto axes = node.integers("axes", 1);
  if (!axes || axes->empty()) node.corrupt("axes are missing");
  const size_t rank = x.size() + axes->size();
  check_rank(node, rank);
  std::vector<bool> added(rank, false);
  for (const int64_t axis : *axes) {
    const size_t at = node.axis(axis, rank);
    if (added[at]) node.corrupt("an axis comes twice");
    added[at] = true;
  }
  Shape shape;
  size_t next = 0;
  for (size_t i = 0; i < rank; ++i) shape.push_back(added[i] ? 1 : x[next++]);
  return shape;
}

Shape expanded(const Lowering& node, const Shape& x) {
  Shape shape = node.integers(1);
  check_rank(node, std::max(shape.size(), x.size()));
  while (shape.size() < x.size()) shape.insert(shape.begin(), 1);
  const size_t offset = shape.size() - x.size();
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == kBatchMark) shape[i] = kBatch;
    const int64_t own = i < offset ? 1 : x[i - offset];
    if (shape[i] == 1 || shape[i] == own) {
      shape[i] = own;
    } else if (own != 1 || (shape[i] < 1 && shape[i] != kBatch) || shape[i] > kMaxExtent) {
      node.unsupported(
          fmt::format("{} cannot become [{}]", to_string(x), fmt::join(node.integers(1), ", ")));
    }
  }
  return shape;
}

std::vector<int64_t> transpose_order(const Lowering& node, size_t rank) {
  std::vector<int64_t> order(rank);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::reverse(order);
  order = node.integers("perm").value_or(order);
  std::vector<int64_t> sorted = order;
  std::ranges::sort(sorted);
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (sorted.size() != rank || sorted[i] != static_cast<int64_t>(i)) {
      node.corrupt(fmt::format("perm [{}] of {} extents", fmt::join(order, ", "), rank));
    }
  }
  return order;
}

std::vector<AxisSlice> read_slices(const Lowering& node, const Shape& x) {
  const auto starts = node.integers("starts", 1);
  const auto ends = node.integers("ends", 2);
  if (!starts || !ends || starts->size() != ends->size())
    node.corrupt("starts and ends do not fit");
  std::vector<int64_t> axes(starts->size());
  std::iota(axes.begin(), axes.end(), 0);
  axes = node.integers("axes", 3).value_or(axes);
  const std::vector<int64_t> ones(starts->size(), 1);
  const std::vector<int64_t> steps = node.has(4) ? node.integers(4) : ones;
  if (axes.size() != starts->size() || steps.size() != starts->size()) {
    node.corrupt("axes or steps do not fit the starts");
  }
  std::vector<AxisSlice> slices;
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t axis = node.axis(axes[i], x.size());
    const int64_t step = steps[i];
    if (x[axis] == kBatch) {
      if ((*starts)[i] == 0 && step == 1 && (*ends)[i] > (int64_t{1} << 31) - 2) continue;
      if ((*starts)[i] == 0 && step == 1 && (*ends)[i] == kBatchMark) continue;
      node.unsupported("it cuts the batch, whose extent is not fixed");
    }
    if (step == 0 || step == std::numeric_limits<int64_t>::min()) node.corrupt("a step of 0");
    const int64_t extent = x[axis];
    const auto from_start = [&](int64_t p) { return p < 0 ? p + extent : p; };
    // A start is clamped to the first or last element, an end to one before the first or behind the
    // last.
    const bool forward = step > 0;
    const int64_t begin = std::clamp<int64_t>(from_start((*starts)[i]), 0,
                                              forward ? extent : std::max<int64_t>(extent - 1, 0));
    const int64_t end = std::clamp<int64_t>(from_start((*ends)[i]), forward ? 0 : -1,
                                            forward ? extent : std::max<int64_t>(extent - 1, -1));
    const int64_t span = forward ? end - begin : begin - end;
    const int64_t stride = forward ? step : -step;
    slices.push_back({axis, begin, step, span <= 0 ? 0 : (span - 1) / stride + 1});
  }
  std::ranges::sort(slices, {}, &AxisSlice::axis);
  if (std::ranges::adjacent_find(slices, {}, &AxisSlice::axis) != slices.end()) {
    node.corrupt("an axis comes twice");
  }
  return slices;
}

Split read_split(const Lowering& node, const Shape& x) {
  Split split;
  split.axis = node.axis(node.integer("axis", 0), x.size());
  const int64_t extent = x[split.axis];
  const auto outputs = static_cast<int64_t>(node.node.outputs.size());
  if (extent < 0) node.unsupported("it cuts the batch, whose extent is not fixed");
  if (const auto given = node.integers("split", 1)) {
    split.lengths = *given;
  } else if (outputs > 0) {
    const int64_t part = ceil_div(extent, outputs);  // the last may be smaller
    for (int64_t i = 0; i < outputs; ++i) {
      split.lengths.push_back(std::clamp<int64_t>(extent - i * part, 0, part));
    }
  }
  int64_t rest = extent;
  for (const int64_t length : split.lengths) {
    if (length < 0 || length > rest) node.corrupt("the parts do not fit the axis");
    rest -= length;
  }
  if (rest != 0 || static_cast<int64_t>(split.lengths.size()) != outputs) {
    node.corrupt("the parts do not fit the axis");
  }
  return split;
}

std::vector<int64_t> read_pads(const Lowering& node, size_t rank) {
  const std::string_view attribute = node.opset() < 2 ? "paddings" : "pads";
  const std::vector<int64_t> given =
      node.integers(attribute, 1).value_or(std::vector<int64_t>(2 * rank, 0));
  std::vector<size_t> axes(rank);
  std::iota(axes.begin(), axes.end(), size_t{0});
  if (node.has(3)) {
    axes.clear();
    for (const int64_t axis : node.integers(3)) axes.push_back(node.axis(axis, rank));
  }
  if (given.size() != 2 * axes.size()) node.corrupt("the pads do not fit the input");
  std::vector<int64_t> pads(2 * rank, 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    for (const size_t side : {size_t{0}, size_t{1}}) {
      const int64_t pad = given[side * axes.size() + i];
      if (pad < -kMaxExtent || pad > kMaxExtent) node.corrupt(fmt::format("a pad of {}", pad));
      pads[side * rank + axes[i]] = pad;
    }
  }
  return pads;
}

}  // namespace bitsmith::onnx
