// ONNX's quantization of activations; that of constants is folded (onnx_fold_numbers.cc).
#include "formats/onnx_lowering.h"

namespace bitsmith::onnx {
namespace {

struct Parameters {
  ValueId scale, zero_point;
  int64_t axis;
};

// Scale and zero point in inputs i and i + 1: [] or, for each position on an axis, [n].
Parameters read_parameters(Lowering& node, size_t i) {
  if (node.integer("block_size", 0) != 0) node.unsupported("block_size");
  const size_t rank = node.shape(0).size();
  const auto parameter = [&](size_t input) {
    if (!node.has(input)) return kNoValue;
    Constant constant = node.constant(input);
    const bool per_channel = constant.shape.size() == 1 && constant.count() > 1;
    if (!per_channel && constant.count() != 1) {
      node.unsupported(fmt::format("scales {}", to_string(constant.shape)));
    }
    if (!per_channel) constant.shape = {};
    return node.parameter(constant, node.node.inputs[input],
                          input == i ? "quantization.scale" : "quantization.zero_point");
  };
  if (!node.has(i)) node.corrupt("its scale is missing");
  Parameters p{parameter(i), parameter(i + 1), 0};
  if (!node.shape_of(p.scale).empty()) {
    p.axis = static_cast<int64_t>(node.axis(node.integer("axis", 1), rank));
  }
  return p;
}

void lower_quantize_linear(Lowering& node) {
  const ElementType type =
      node.has(2) ? node.type(2) : static_cast<ElementType>(node.integer("output_dtype", kUint8));
  const auto range = code_range(type);
  if (!range) node.unsupported("codes of type " + element_type_name(type));
  const ValueId x = node.value(0);
  const Parameters p = read_parameters(node, 1);
  node.set(ops::quantize(node.graph(), node.name(), x, p.scale, p.zero_point, p.axis, range->low,
                         range->high),
           type, 0);
}

void lower_dequantize_linear(Lowering& node) {
  const ValueId x = node.value(0);
  const Parameters p = read_parameters(node, 1);
  node.set(ops::dequantize(node.graph(), node.name(), x, p.scale, p.zero_point, p.axis), kFloat, 0);
}

const Rules kRules = {
    {"QuantizeLinear", lower_quantize_linear},
    {"DequantizeLinear", lower_dequantize_linear},
};

}  // namespace
}  // namespace bitsmith::onnx
