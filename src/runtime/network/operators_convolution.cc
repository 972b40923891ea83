// conv of graph/operators_convolution.h.
#include <algorithm>
#include <optional>
#include <variant>

#include "runtime/kernels/conv_float.h"
#include "runtime/kernels/conv_sparse.h"
#include "runtime/kernels/conv_winograd.h"
#include "runtime/network/network_operator.h"
#include "runtime/network/window.h"

namespace bitsmith {
namespace {

// Signals and images by the kernel; a signal is an image of one row.
class Conv final : public NetworkStep {
 public:
  Conv(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {
    const Shape& weight = p.graph().value(node.inputs[1]).shape;
    const WindowAxes axes = window_axes(node, x_.shape, std::span(weight).subspan(2));
    ConvShape shape;
    shape.channels = x_.shape[1];
    shape.outputs = weight[0];
    shape.groups = node.integer("groups");
    set_window(axes, shape);
    check_padding(node, shape, sizeof(float));
    const std::vector<float> weights = p.numbers(node.inputs[1]);
    const std::vector<float> bias = p.numbers(node.inputs[2]);
    const Limits limits(node);
    const FloatConvSpec spec{shape, weights, bias, limits.low, limits.high};
    if (SparseConv::pays(spec)) {
      kernel_.emplace(SparseConv(spec));
    } else if (WinogradConv::pays(shape)) {
      kernel_.emplace(WinogradConv(spec));
    } else {
      kernel_.emplace(FloatConv(spec));
    }
  }

  void run(NetworkFrame& frame) const override {
    std::visit(
        [&](const auto& kernel) {
          kernel.run(x_.data(frame), x_.extents(frame)[0], y_.data(frame), *frame.pool);
        },
        *kernel_);
  }
  std::string_view kernel_name() const override {
    return std::visit([](const auto& kernel) { return kernel.name(); }, *kernel_);
  }
  uint64_t memory_bytes() const override {
    return static_cast<uint64_t>(
        std::visit([](const auto& kernel) { return kernel.memory_bytes(); }, *kernel_));
  }

 private:
  Operand x_, y_;
  std::optional<std::variant<FloatConv, SparseConv, WinogradConv>> kernel_;
};

// Any number of spatial axes, cell by cell.
class PlainConv final : public NetworkStep {
 public:
  PlainConv(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        weight_shape_(p.graph().value(node.inputs[1]).shape),
        axes_(window_axes(node, x_.shape, std::span(weight_shape_).subspan(2))),
        groups_(node.integer("groups")),
        weights_(p.numbers(node.inputs[1])),
        bias_(p.numbers(node.inputs[2])),
        limits_(node) {}

  void run(NetworkFrame& frame) const override {
    const Shape x_strides = x_.strides(frame);
    const Shape y_strides = y_.strides(frame);
    const int64_t outputs = weight_shape_[0];
    const int64_t inputs = weight_shape_[1];
    const int64_t taps = window_cells(axes_);
    const int64_t pixels = window_pixels(axes_);
    frame.pool->run(x_.extents(frame)[0] * pixels, [&](int64_t i, int) {
      const int64_t image = i / pixels;
      const float* x = x_.data(frame) + image * x_strides[0];
      float* y = y_.data(frame) + image * y_strides[0] +
                 pixel_offset(axes_, i % pixels, std::span(y_strides).subspan(2));
      std::vector<float> sums(static_cast<size_t>(outputs), 0.0f);
      std::ranges::copy(bias_, sums.begin());
      for_cells(axes_, i % pixels, std::span(x_strides).subspan(2),
                [&](int64_t cell, int64_t offset) {
                  for (int64_t o = 0; o < outputs; ++o) {
                    const int64_t first = o / (outputs / groups_) * inputs;
                    for (int64_t c = 0; c < inputs; ++c) {
                      sums[static_cast<size_t>(o)] +=
                          x[offset + (first + c) * x_strides[1]] *
                          weights_[static_cast<size_t>((o * inputs + c) * taps + cell)];
                    }
                  }
                });
      for (int64_t o = 0; o < outputs; ++o) {
        y[o * y_strides[1]] = std::clamp(sums[static_cast<size_t>(o)], limits_.low, limits_.high);
      }
    });
  }
  std::string_view kernel_name() const override { return "plain convolution"; }
  uint64_t memory_bytes() const override { return weights_.size() * sizeof(float); }

 private:
  Operand x_, y_;
  Shape weight_shape_;
  WindowAxes axes_;
  int64_t groups_;
  std::vector<float> weights_, bias_;
  Limits limits_;
};

std::unique_ptr<NetworkStep> make_conv(NetworkPreparation& p, const Node& node) {
  if (p.graph().value(node.inputs[1]).shape.size() > 4) return make_step<PlainConv>(p, node);
  return make_step<Conv>(p, node);
}

const NetworkOperators operators = {
    {{"conv", "cross-correlation, in groups of channels", "", {}},
     LayoutRule::kChannelsLast,
     make_conv,
     {},
     true},
};

}  // namespace
}  // namespace bitsmith
