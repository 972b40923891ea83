// Operators of graph/operators_convolution.h in torch.
#include <algorithm>
#include <limits>

#include "reference/convolution_windows.h"
#include "reference/operators.h"

namespace bitsmith::reference {
namespace {

// `pads`, all begins then all ends, as torch wants them: the last axis first, begin and end of
// each.
std::vector<int64_t> torch_pads(const std::vector<int64_t>& pads) {
  const size_t n = pads.size() / 2;
  std::vector<int64_t> result;
  for (size_t i = n; i-- > 0;) {
    result.push_back(pads[i]);
    result.push_back(pads[n + i]);
  }
  return result;
}

at::Tensor padded(const Node& node, const at::Tensor& x, double value) {
  return at::constant_pad_nd(x, torch_pads(node.integers("pads")), value);
}

at::Tensor conv(const Node& node, const Inputs& in) {
  const std::vector<int64_t>& strides = node.integers("strides");
  const std::vector<int64_t> none(strides.size(), 0);
  // Torch pads both ends alike; where that will do, a padded copy is spared.
  const std::vector<int64_t>& pads = node.integers("pads");
  const auto half = pads.begin() + static_cast<std::ptrdiff_t>(strides.size());
  const bool alike = std::equal(pads.begin(), half, half);
  return at::convolution(alike ? in[0] : padded(node, in[0], 0), in[1], in[2], strides,
                         alike ? std::vector<int64_t>(pads.begin(), half) : none,
                         node.integers("dilations"), false, none, node.integer("groups"));
}

at::Tensor windows(const Node& node, const at::Tensor& x, double value) {
  return reference::windows(node, node.integers("kernel"), x, value);
}

std::vector<int64_t> window_axes(const Node& node) {
  std::vector<int64_t> axes;
  for (size_t i = 0; i < node.integers("kernel").size(); ++i) {
    axes.push_back(-1 - static_cast<int64_t>(i));
  }
  return axes;
}

at::Tensor max_pool(const Node& node, const Inputs& in) {
  return windows(node, in[0], -std::numeric_limits<float>::infinity()).amax(window_axes(node));
}

at::Tensor average_pool(const Node& node, const Inputs& in) {
  const std::vector<int64_t> axes = window_axes(node);
  const at::Tensor inside = windows(node, at::ones_like(in[0].slice(0, 0, 1).slice(1, 0, 1)), 0);
  return windows(node, in[0], 0).sum(axes) / inside.sum(axes);
}

// u(y) for every output position of one spatial axis, [Y] float64.
at::Tensor source_positions(const std::string& coordinates, int64_t in, int64_t out, double scale) {
  const at::Tensor y = at::arange(out, at::TensorOptions().dtype(at::kDouble));
  if (coordinates == "asymmetric") return y / scale;
  if (coordinates == "align_corners") {
    return out == 1 ? y : y * static_cast<double>(in - 1) / static_cast<double>(out - 1);
  }
  if (coordinates == "pytorch_half_pixel" && out == 1) return y;
  return (y + 0.5) / scale - 0.5;
}

at::Tensor nearest_position(const std::string& rounding, const at::Tensor& u) {
  if (rounding == "floor") return u.floor();
  if (rounding == "ceil") return u.ceil();
  return rounding == "round_prefer_floor" ? (u - 0.5).ceil() : (u + 0.5).floor();
}

at::Tensor resize(const Node& node, const Inputs& in) {
  at::Tensor x = in[0];
  for (size_t i = 0; i < node.integers("sizes").size(); ++i) {
    const int64_t axis = static_cast<int64_t>(i) + 2;
    const int64_t extent = x.size(axis);
    const at::Tensor u = source_positions(node.text("coordinates"), extent,
                                          node.integers("sizes")[i], node.numbers("scales")[i]);
    const auto pick = [&](const at::Tensor& position) {
      const at::Tensor index = position.clamp(0, extent - 1).to(at::kLong).to(x.device());
      return x.index_select(axis, index);
    };
    if (node.text("mode") == "nearest") {
      x = pick(nearest_position(node.text("rounding"), u));
      continue;
    }
    const at::Tensor below = u.floor();
    std::vector<int64_t> along(static_cast<size_t>(x.dim()), 1);
    along[static_cast<size_t>(axis)] = -1;
    const at::Tensor f = (u - below).to(x.dtype()).to(x.device()).view(along);
    x = (1 - f) * pick(below) + f * pick(below + 1);
  }
  return x;
}

const Operators kOperators = {
    {"conv", conv},
    {"max_pool", max_pool},
    {"average_pool", average_pool},
    {"resize", resize},
};

}  // namespace

at::Tensor windows(const Node& node, const std::vector<int64_t>& kernel, const at::Tensor& x,
                   double value) {
  at::Tensor cells = padded(node, x, value);
  for (size_t i = 0; i < kernel.size(); ++i) {
    const int64_t dilation = node.integers("dilations")[i];
    const int64_t axis = static_cast<int64_t>(i) + 2;
    cells = cells.unfold(axis, dilation * (kernel[i] - 1) + 1, node.integers("strides")[i]);
    cells = cells.slice(-1, 0, c10::nullopt, dilation);
  }
  return cells;
}

}  // namespace bitsmith::reference
