// The graph's convolutions, pooling and resizing as ONNX's.
#include <algorithm>
#include <cmath>

#include "formats/onnx_raising.h"

namespace bitsmith::onnx {
namespace {

// The attributes of a sliding window. Dilations of 1 are left out: old pools have none.
Raising::Attributes window_attributes(const Node& node, std::vector<int64_t> kernel) {
  Raising::Attributes attributes = {attribute("kernel_shape", kernel),
                                    attribute("strides", node.integers("strides")),
                                    attribute("pads", node.integers("pads"))};
  const std::vector<int64_t>& dilations = node.integers("dilations");
  if (std::ranges::any_of(dilations, [](int64_t d) { return d != 1; })) {
    attributes.push_back(attribute("dilations", dilations));
  }
  return attributes;
}

void raise_conv(Raising& node) {
  const Shape& weight = node.shape(1);
  Raising::Attributes attributes =
      window_attributes(node.node, std::vector<int64_t>(weight.begin() + 2, weight.end()));
  attributes.push_back(attribute("group", node.node.integer("groups")));
  const WeightForm form = node.state().weight_form(node.node);
  std::vector<std::string> inputs = {node.input(0), node.state().weight(node.node, form)};
  if (node.has(2)) inputs.push_back(node.state().bias(node.node, form));
  node.set("Conv", inputs, attributes);
}

// The largest of codes are codes.
void raise_max_pool(Raising& node) {
  const ElementType type = node.type(0) == kUint8 || node.type(0) == kInt8 ? node.type(0) : kFloat;
  node.set("MaxPool", {node.input(0, type)},
           window_attributes(node.node, node.node.integers("kernel")), type);
}

void raise_average_pool(Raising& node) {
  node.set("AveragePool", {node.input(0)},
           window_attributes(node.node, node.node.integers("kernel")));
}

int64_t average_pool_opset(const ExportState&, const Node& node) {
  const std::vector<int64_t>& dilations = node.integers("dilations");
  const bool dilated = std::ranges::any_of(dilations, [](int64_t d) { return d != 1; });
  return dilated ? 19 : kBaseOpset;
}

// Whether float32 scales make exactly these extents; else the file holds the extents.
bool has_float_scales(const Shape& x, const Node& node) {
  const std::vector<double>& scales = node.numbers("scales");
  for (size_t i = 0; i < scales.size(); ++i) {
    const auto scale = static_cast<float>(scales[i]);
    const auto extent = static_cast<double>(x[i + 2]);
    const auto size = static_cast<double>(node.integers("sizes")[i]);
    if (static_cast<double>(scale) != scales[i] || std::floor(extent * scales[i]) != size ||
        std::floor(static_cast<float>(extent) * scale) != static_cast<float>(size)) {
      return false;
    }
  }
  return true;
}

int64_t resize_opset(const ExportState& state, const Node& node) {
  return has_float_scales(state.graph.value(node.inputs[0]).shape, node) ? kBaseOpset : 18;
}

void raise_resize(Raising& node) {
  const Shape& x = node.shape(0);
  const std::vector<double>& scales = node.node.numbers("scales");
  const std::vector<int64_t>& sizes = node.node.integers("sizes");
  Raising::Attributes attributes = {
      attribute("mode", node.node.text("mode")),
      attribute("coordinate_transformation_mode", node.node.text("coordinates")),
      attribute("nearest_mode", node.node.text("rounding"))};
  if (has_float_scales(x, node.node)) {
    std::vector<double> all = {1, 1};
    all.insert(all.end(), scales.begin(), scales.end());
    const Shape shape = {static_cast<int64_t>(all.size())};
    node.set("Resize", {node.input(0), "", node.constant("scales", shape, all)}, attributes);
    return;
  }
  std::vector<int64_t> axes;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const double implied = static_cast<double>(sizes[i]) / static_cast<double>(x[i + 2]);
    if (std::abs(scales[i] - implied) > 1e-6 * implied) {
      node.unsupported(
          fmt::format("its scale {} is no float32 and not {} / {}", scales[i], sizes[i], x[i + 2]));
    }
    axes.push_back(static_cast<int64_t>(i) + 2);
  }
  attributes.push_back(attribute("axes", axes));
  node.set("Resize", {node.input(0), "", "", node.integers("sizes", sizes)}, attributes);
}

const RaiseRules kRules = {
    {"conv", raise_conv},
    {"max_pool", raise_max_pool},
    {"average_pool", raise_average_pool, average_pool_opset},
    {"resize", raise_resize, resize_opset},
};

}  // namespace
}  // namespace bitsmith::onnx
