// ONNX's convolutions, pooling and resizing.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "formats/onnx_lowering.h"

namespace bitsmith::onnx {
namespace {

constexpr int64_t kMaxExtent = int64_t{1} << 30;

// Attributes of a sliding window, for `kernel` over the spatial axes of input 0.
struct SlidingWindow {
  ops::Window window;
  std::vector<int64_t> kernel;

  int64_t reach(size_t i) const { return window.dilations[i] * (kernel[i] - 1) + 1; }
};

std::vector<int64_t> checked(const Lowering& node, std::string_view name, size_t count,
                             int64_t lowest, int64_t otherwise) {
  std::vector<int64_t> list = node.integers(name).value_or(std::vector<int64_t>(count, otherwise));
  const bool fits = list.size() == count && std::ranges::all_of(list, [&](int64_t x) {
                      return x >= lowest && x <= kMaxExtent;
                    });
  if (!fits) {
    node.corrupt(fmt::format("'{}' should be {} numbers of at least {}, it is [{}]", name, count,
                             lowest, fmt::join(list, ", ")));
  }
  return list;
}

// The spatial extents of input 0, which must be known.
std::vector<int64_t> spatial_extents(const Lowering& node) {
  const Shape& x = node.shape(0);
  if (x.size() < 3) {
    node.unsupported(fmt::format("the input {} has no spatial axes", to_string(x)));
  }
  std::vector<int64_t> extents(x.begin() + 2, x.end());
  for (const int64_t extent : extents) {
    if (extent < 1 || extent > kMaxExtent) {
      node.unsupported(fmt::format("the input {} has no fixed extents", to_string(x)));
    }
  }
  return extents;
}

// Sets the pads that `auto_pad` asks for. SAME: as many windows as extent / stride, rounded up.
void pad_automatically(const Lowering& node, const std::vector<int64_t>& extents,
                       SlidingWindow& w) {
  const std::string mode = node.text("auto_pad", "NOTSET");
  const size_t n = w.kernel.size();
  if (mode == "NOTSET" || mode.empty()) return;
  w.window.pads.assign(2 * n, 0);
  if (mode == "VALID") return;
  if (mode != "SAME_UPPER" && mode != "SAME_LOWER") {
    node.corrupt(fmt::format("auto_pad '{}' is not known", mode));
  }
  for (size_t i = 0; i < n; ++i) {
    const int64_t stride = w.window.strides[i];
    const int64_t last = (ceil_div(extents[i], stride) - 1) * stride;
    const int64_t total = std::max<int64_t>(0, last + w.reach(i) - extents[i]);
    const int64_t smaller = total / 2;
    w.window.pads[i] = mode == "SAME_UPPER" ? smaller : total - smaller;
    w.window.pads[n + i] = total - w.window.pads[i];
  }
}

SlidingWindow read_window(const Lowering& node, const std::vector<int64_t>& extents,
                          std::vector<int64_t> kernel) {
  const size_t n = extents.size();
  SlidingWindow w;
  w.kernel = std::move(kernel);
  if (w.kernel.size() != n) {
    node.corrupt(fmt::format("a kernel of {} extents over {} spatial axes", w.kernel.size(), n));
  }
  w.window.strides = checked(node, "strides", n, 1, 1);
  w.window.dilations = checked(node, "dilations", n, 1, 1);
  w.window.pads = checked(node, "pads", 2 * n, 0, 0);
  for (size_t i = 0; i < n; ++i) {
    if (w.kernel[i] < 1 || w.kernel[i] > kMaxExtent) {
      node.corrupt(fmt::format("a kernel of extent {}", w.kernel[i]));
    }
  }
  pad_automatically(node, extents, w);
  return w;
}

// ceil_mode: a last window may reach beyond the padded input, but must start inside of input and
// leading padding; here that is more padding at the end.
void extend_for_ceil(const std::vector<int64_t>& extents, SlidingWindow& w) {
  const size_t n = extents.size();
  for (size_t i = 0; i < n; ++i) {
    const int64_t padded = extents[i] + w.window.pads[i] + w.window.pads[n + i];
    const int64_t stride = w.window.strides[i];
    if (padded < w.reach(i)) continue;
    const int64_t last = ceil_div(padded - w.reach(i), stride) * stride;
    if (last >= extents[i] + w.window.pads[i]) continue;
    w.window.pads[n + i] += std::max<int64_t>(0, last + w.reach(i) - padded);
  }
}

void lower_conv(Lowering& node) {
  const std::vector<int64_t> extents = spatial_extents(node);
  if (!node.is_constant(1)) {
    node.unsupported("the weight is computed by the network; it must be a constant");
  }
  const Shape& weight = node.shape(1);
  if (weight.size() != extents.size() + 2) {
    node.corrupt(
        fmt::format("a weight {} for an input {}", to_string(weight), to_string(node.shape(0))));
  }
  const SlidingWindow w = read_window(node, extents, Shape(weight.begin() + 2, weight.end()));
  const ValueId x = node.value(0);
  const ValueId kernel = node.value(1, "conv.weight");
  const bool constant_bias = node.has(2) && node.is_constant(2);
  const ValueId bias = constant_bias ? node.value(2, "conv.bias") : kNoValue;
  const int64_t groups = node.integer("group", 1);
  if (!node.has(2) || constant_bias) {
    node.set(ops::conv(node.graph(), node.name(), x, kernel, bias, w.window, groups));
    return;
  }
  const ValueId y =
      ops::conv(node.graph(), node.name("product"), x, kernel, kNoValue, w.window, groups);
  Shape along(extents.size() + 1, 1);
  along[0] = weight[0];
  const ValueId shaped = ops::reshape(node.graph(), node.name("bias"), node.value(2), along);
  node.set(ops::add(node.graph(), node.name(), y, shaped));
}

SlidingWindow read_pool(const Lowering& node, const std::vector<int64_t>& extents) {
  const auto kernel = node.integers("kernel_shape");
  if (!kernel) node.corrupt("kernel_shape is missing");
  return read_window(node, extents, *kernel);
}

void lower_max_pool(Lowering& node) {
  if (node.wants(1)) node.unsupported("its second output, the indices, is used");
  const std::vector<int64_t> extents = spatial_extents(node);
  SlidingWindow w = read_pool(node, extents);
  if (node.integer("ceil_mode", 0) != 0) extend_for_ceil(extents, w);
  node.set(ops::max_pool(node.graph(), node.name(), node.value(0), w.kernel, w.window));
}

void lower_average_pool(Lowering& node) {
  std::vector<int64_t> extents = spatial_extents(node);
  SlidingWindow w = read_pool(node, extents);
  ValueId x = node.value(0);
  const size_t n = extents.size();
  const bool padded = std::ranges::any_of(w.window.pads, [](int64_t pad) { return pad > 0; });
  if (node.integer("count_include_pad", 0) != 0 && padded) {
    std::vector<int64_t> pads(2 * (n + 2), 0);
    for (size_t i = 0; i < n; ++i) {
      pads[2 + i] = w.window.pads[i];
      pads[n + 4 + i] = w.window.pads[n + i];
      extents[i] += w.window.pads[i] + w.window.pads[n + i];
    }
    x = ops::pad(node.graph(), node.name("pad"), x, std::move(pads));
    w.window.pads.assign(2 * n, 0);
  }
  if (node.integer("ceil_mode", 0) != 0) extend_for_ceil(extents, w);
  node.set(ops::average_pool(node.graph(), node.name(), x, w.kernel, w.window));
}

void lower_global_pool(Lowering& node, std::string_view op) {
  const size_t n = spatial_extents(node).size();
  std::vector<int64_t> axes;
  for (size_t i = 0; i < n; ++i) axes.push_back(static_cast<int64_t>(i) + 2);
  node.set(ops::reduce(node.graph(), op, node.name(), node.value(0), axes, true));
}
void lower_global_average_pool(Lowering& node) { lower_global_pool(node, "reduce_mean"); }
void lower_global_max_pool(Lowering& node) { lower_global_pool(node, "reduce_max"); }

// Input extents times scales, rounded down.
struct Resizing {
  std::vector<double> scales;  // of all axes
  std::vector<int64_t> sizes;
};

Resizing read_resizing(const Lowering& node, size_t scales_input, size_t sizes_input) {
  const Shape& x = node.shape(0);
  Resizing r;
  const bool by_size = node.has(sizes_input) && !node.constant(sizes_input).shape.empty() &&
                       node.constant(sizes_input).count() > 0;
  std::vector<size_t> axes;
  for (const int64_t axis : node.integers("axes").value_or(std::vector<int64_t>{})) {
    axes.push_back(node.axis(axis, x.size()));
  }
  if (axes.empty()) {
    axes.resize(x.size());
    std::iota(axes.begin(), axes.end(), size_t{0});
  }
  std::vector<double> given;
  if (by_size) {
    given = numbers_of(node.constant(sizes_input));
  } else if (node.has(scales_input)) {
    given = numbers_of(node.constant(scales_input));
  } else if (const Attribute* scales = node.attribute("scales")) {
    given.assign(scales->numbers.begin(), scales->numbers.end());
  }
  if (given.size() != axes.size()) {
    node.corrupt(fmt::format("{} scales or sizes for {} axes", given.size(), axes.size()));
  }
  r.scales.assign(x.size(), 1);
  r.sizes = x;
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t axis = axes[i];
    const double extent = static_cast<double>(x[axis]);
    const double scale = by_size ? given[i] / extent : given[i];
    if (x[axis] < 0 && (given[i] == 1 || given[i] == static_cast<double>(kBatchMark))) continue;
    const double size = by_size ? given[i] : std::floor(extent * scale);
    if (!(scale > 0) || !(size >= 1) || !(size <= static_cast<double>(kMaxExtent))) {
      node.corrupt(
          fmt::format("axis {} of {} cannot be resized by {}", axis, to_string(x), given[i]));
    }
    r.scales[axis] = scale;
    r.sizes[axis] = static_cast<int64_t>(size);
  }
  return r;
}

void resize(Lowering& node, const Resizing& r, ops::ResizeOptions options) {
  spatial_extents(node);
  const Shape& x = node.shape(0);
  if (r.sizes[0] != x[0] || r.sizes[1] != x[1]) {
    node.unsupported("the axes of batch and channels are resized");
  }
  options.sizes.assign(r.sizes.begin() + 2, r.sizes.end());
  options.scales.assign(r.scales.begin() + 2, r.scales.end());
  node.set(ops::resize(node.graph(), node.name(), node.value(0), options));
}

void lower_resize(Lowering& node) {
  const std::string mode = node.text("mode", "nearest");
  if (mode != "nearest" && mode != "linear") {
    node.unsupported(fmt::format("mode '{}'; supported are nearest and linear", mode));
  }
  if (node.opset() < 11) {  // as Upsample
    resize(node, read_resizing(node, 1, node.inputs()),
           {.mode = mode, .coordinates = "asymmetric", .rounding = "floor"});
    return;
  }
  const std::string coordinates = node.text("coordinate_transformation_mode", "half_pixel");
  if (coordinates != "half_pixel" && coordinates != "pytorch_half_pixel" &&
      coordinates != "asymmetric" && coordinates != "align_corners") {
    node.unsupported(fmt::format("coordinate_transformation_mode '{}'", coordinates));
  }
  const Resizing resizing = read_resizing(node, 2, 3);
  for (size_t axis = 0; axis < resizing.sizes.size(); ++axis) {
    // ONNX then counts with an extent that is no whole number; its versions differ in it.
    const double extent = static_cast<double>(node.shape(0)[axis]) * resizing.scales[axis];
    if (coordinates == "align_corners" && std::abs(extent - std::round(extent)) > 1e-4) {
      node.unsupported(fmt::format("align_corners to {} positions", extent));
    }
  }
  const bool antialias = node.integer("antialias", 0) != 0 && mode != "nearest";
  if (antialias || node.text("keep_aspect_ratio_policy", "stretch") != "stretch") {
    node.unsupported("antialiasing or keep_aspect_ratio_policy");
  }
  resize(node, resizing,
         {.mode = mode,
          .coordinates = coordinates,
          .rounding = node.text("nearest_mode", "round_prefer_floor")});
}

void lower_upsample(Lowering& node) {
  const std::string mode = node.text("mode", "nearest");
  if (mode != "nearest" && mode != "linear") {
    node.unsupported(fmt::format("mode '{}'; supported are nearest and linear", mode));
  }
  resize(node, read_resizing(node, 1, node.inputs()),
         {.mode = mode, .coordinates = "asymmetric", .rounding = "floor"});
}

const Rules kRules = {
    {"Conv", lower_conv},
    {"MaxPool", lower_max_pool},
    {"AveragePool", lower_average_pool},
    {"GlobalAveragePool", lower_global_average_pool},
    {"GlobalMaxPool", lower_global_max_pool},
    {"Resize", lower_resize},
    {"Upsample", lower_upsample},
};

}  // namespace
}  // namespace bitsmith::onnx
