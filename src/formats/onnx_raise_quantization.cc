// The graph's quantized activations as ONNX's.
#include <cmath>

#include "formats/onnx_constant.h"
#include "formats/onnx_raising.h"

namespace bitsmith::onnx {
namespace {

// Inputs 1 and 2, the zero point always given, since its type is that of the codes.
std::vector<std::string> parameters(Raising& node, ElementType type) {
  const Shape& shape = node.shape(1);
  std::vector<double> zero_points(static_cast<size_t>(*element_count(shape)), 0);
  if (node.has(2)) {
    const std::vector<float> given = node.numbers(2);
    zero_points.assign(given.begin(), given.end());
  }
  const CodeRange range = *code_range(type);
  for (const double z : zero_points) {
    if (z != std::nearbyint(z) || z < static_cast<double>(range.low) ||
        z > static_cast<double>(range.high)) {
      node.unsupported(fmt::format("the zero point {} is no {}", z, element_type_name(type)));
    }
  }
  return {node.input(1), node.constant("zero_point", shape, zero_points, type)};
}

Raising::Attributes axis_of(const Raising& node) {
  if (node.shape(1).empty()) return {};
  return {attribute("axis", node.node.integer("axis"))};
}

// Ranges narrower than the type's are clamped after the rounding, on the codes: what reads them is
// then as quantized as without.
void raise_quantize(Raising& node) {
  const int64_t low = node.node.integer("low");
  const int64_t high = node.node.integer("high");
  const ElementType type = code_type(low, high);
  if (type == kUndefined) {
    node.unsupported(fmt::format("codes of [{}, {}]; ONNX has up to 16 bits", low, high));
  }
  std::vector<std::string> inputs = {node.input(0)};
  for (const std::string& parameter : parameters(node, type)) inputs.push_back(parameter);
  const CodeRange range = *code_range(type);
  if (low == range.low && high == range.high) {
    return node.set("QuantizeLinear", inputs, axis_of(node), type);
  }
  const std::string codes = node.step("unclamped", "QuantizeLinear", inputs, axis_of(node));
  const std::string bound = node.scalar("low", static_cast<double>(low), type);
  node.set("Clip", {codes, bound, node.scalar("high", static_cast<double>(high), type)}, {}, type);
}

int64_t quantize_opset(const ExportState&, const Node& node) {
  const ElementType type = code_type(node.integer("low"), node.integer("high"));
  return type == kUint16 || type == kInt16 ? 21 : kBaseOpset;
}

// Codes that the network computes with arithmetic are numbers; they get arithmetic here too.
void raise_dequantize(Raising& node) {
  const ElementType type = node.type(0);
  if (code_range(type)) {
    std::vector<std::string> inputs = {node.input(0, type)};
    for (const std::string& parameter : parameters(node, type)) inputs.push_back(parameter);
    return node.set("DequantizeLinear", inputs, axis_of(node));
  }
  Shape along;
  if (!node.shape(1).empty()) {
    along.assign(node.shape(0).size() - static_cast<size_t>(node.node.integer("axis")), 1);
    along[0] = node.shape(1)[0];
  }
  const auto constant = [&](std::string_view part, size_t i) {
    const std::vector<float> numbers = node.numbers(i);
    return node.constant(part, along, {numbers.begin(), numbers.end()});
  };
  std::string x = node.input(0);
  if (node.has(2)) x = node.step("centred", "Sub", {x, constant("zero_point", 2)});
  node.set("Mul", {x, constant("scale", 1)});
}

const RaiseRules kRules = {
    {"quantize", raise_quantize, quantize_opset},
    {"dequantize", raise_dequantize},
};

}  // namespace
}  // namespace bitsmith::onnx
