#include "graph/operators_convolution.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "graph/infer.h"

namespace bitsmith {
namespace {

using namespace infer;

constexpr int64_t kMaxExtent = int64_t{1} << 30;  // of spatial axes: products of two fit int64_t

// The number of spatial axes of input 0, which must be [B, C, X...] with known C and X.
size_t spatial_axes(const Graph& graph, const Node& node) {
  const Shape& shape = input_shape(graph, node, 0);
  const bool known = shape.size() >= 3 && std::all_of(shape.begin() + 1, shape.end(), [](auto x) {
                       return x > 0 && x <= kMaxExtent;
                     });
  if (!known) misfit(node, fmt::format("{} is not [B, C, extents...]", to_string(shape)));
  return shape.size() - 2;
}

// The output's shape [B, channels, Y...] of a window of extents `kernel`. With `skips_padding`,
// windows that see padding only are refused: they have no mean and no largest cell.
Shape slide(const Graph& graph, const Node& node, std::span<const int64_t> kernel, int64_t channels,
            bool skips_padding) {
  const size_t n = kernel.size();
  const auto& strides = integers_attribute(node, "strides", n, 1, kMaxExtent);
  const auto& dilations = integers_attribute(node, "dilations", n, 1, kMaxExtent);
  const auto& pads = integers_attribute(node, "pads", 2 * n, 0, kMaxExtent);
  const Shape& x = input_shape(graph, node, 0);
  Shape shape = {x[0], channels};
  for (size_t i = 0; i < n; ++i) {
    const int64_t reach = dilations[i] * (kernel[i] - 1) + 1;
    const int64_t padded = x[i + 2] + pads[i] + pads[n + i];
    if (reach > padded) {
      misfit(node, fmt::format("a window of {} does not fit {} with its padding {}, {}", reach,
                               x[i + 2], pads[i], pads[n + i]));
    }
    const int64_t out = (padded - reach) / strides[i] + 1;
    if (skips_padding) {
      // The first window must reach the input, the last must start before its end. With dilation a
      // window may also straddle the input without a cell in it.
      const bool straddles = dilations[i] > x[i + 2];
      if (pads[i] >= reach || (out - 1) * strides[i] - pads[i] >= x[i + 2] || straddles) {
        misfit(node, fmt::format("padding {}, {} leaves windows of {} without a cell of the input",
                                 pads[i], pads[n + i], reach));
      }
    }
    shape.push_back(out);
  }
  return shape;
}

Shape infer_conv(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 3, 1);
  spatial_axes(graph, node);
  const Shape& x = input_shape(graph, node, 0);
  const Shape& weight = parameter_shape(graph, node, 1, x.size());
  for (const int64_t extent : weight) {
    if (extent < 1 || extent > kMaxExtent) {
      misfit(node, fmt::format("the weight has the shape {}", to_string(weight)));
    }
  }
  const int64_t groups = node.integer("groups");
  if (groups < 1 || x[1] % groups != 0 || weight[0] % groups != 0) {
    misfit(node,
           fmt::format("{} groups do not divide {} and {} channels", groups, x[1], weight[0]));
  }
  expect_equal(node, "the weight's input channels", x[1] / groups, weight[1]);
  expect_vector(graph, node, 2, weight[0]);
  return slide(graph, node, std::span(weight).subspan(2), weight[0], false);
}

Shape infer_pool(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 1);
  const size_t n = spatial_axes(graph, node);
  const auto& kernel = integers_attribute(node, "kernel", n, 1, kMaxExtent);
  return slide(graph, node, kernel, input_shape(graph, node, 0)[1], true);
}

void expect_word(const Node& node, const char* name, std::span<const std::string_view> words) {
  const std::string& word = node.text(name);
  if (std::ranges::find(words, word) == words.end()) {
    misfit(node, fmt::format("'{}' is '{}'; it may be {}", name, word, fmt::join(words, ", ")));
  }
}

Shape infer_resize(const Graph& graph, const Node& node) {
  constexpr std::array<std::string_view, 2> kModes = {"nearest", "linear"};
  constexpr std::array<std::string_view, 4> kCoordinates = {"half_pixel", "pytorch_half_pixel",
                                                            "asymmetric", "align_corners"};
  constexpr std::array<std::string_view, 4> kRoundings = {"floor", "ceil", "round_prefer_floor",
                                                          "round_prefer_ceil"};
  expect_inputs(graph, node, 1);
  const size_t n = spatial_axes(graph, node);
  const auto& sizes = integers_attribute(node, "sizes", n, 1, kMaxExtent);
  const std::vector<double>& scales = node.numbers("scales");
  const bool fits = scales.size() == n &&
                    std::ranges::all_of(scales, [](double s) { return std::isfinite(s) && s > 0; });
  if (!fits) misfit(node, fmt::format("'scales' must be {} positive numbers", n));
  expect_word(node, "mode", kModes);
  expect_word(node, "coordinates", kCoordinates);
  expect_word(node, "rounding", kRoundings);
  Shape shape = input_shape(graph, node, 0);
  std::ranges::copy(sizes, shape.begin() + 2);
  return shape;
}

struct OperatorTable {
  OperatorTable() {
    register_operator("conv", "cross-correlation, in groups of channels", false, infer_conv);
    register_operator("max_pool", "largest element of a sliding window", false, infer_pool);
    register_operator("average_pool", "mean of a sliding window, without padding", false,
                      infer_pool);
    register_operator("resize", "interpolation to other spatial extents", false, infer_resize);
  }
};
const OperatorTable table;

Attributes window_attributes(const ops::Window& window) {
  return {{"strides", window.strides}, {"dilations", window.dilations}, {"pads", window.pads}};
}

}  // namespace

namespace ops {

ValueId conv(Graph& graph, std::string name, ValueId x, ValueId weight, ValueId bias,
             const Window& window, int64_t groups) {
  Attributes attributes = window_attributes(window);
  attributes["groups"] = groups;
  return graph.add_node("conv", std::move(name), {x, weight, bias}, std::move(attributes));
}

ValueId max_pool(Graph& graph, std::string name, ValueId x, std::vector<int64_t> kernel,
                 const Window& window) {
  Attributes attributes = window_attributes(window);
  attributes["kernel"] = std::move(kernel);
  return graph.add_node("max_pool", std::move(name), {x}, std::move(attributes));
}

ValueId average_pool(Graph& graph, std::string name, ValueId x, std::vector<int64_t> kernel,
                     const Window& window) {
  Attributes attributes = window_attributes(window);
  attributes["kernel"] = std::move(kernel);
  return graph.add_node("average_pool", std::move(name), {x}, std::move(attributes));
}

ValueId resize(Graph& graph, std::string name, ValueId x, const ResizeOptions& options) {
  return graph.add_node("resize", std::move(name), {x},
                        {{"sizes", options.sizes},
                         {"scales", options.scales},
                         {"mode", options.mode},
                         {"coordinates", options.coordinates},
                         {"rounding", options.rounding}});
}

}  // namespace ops
}  // namespace bitsmith
