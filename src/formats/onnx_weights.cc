// How weights and biases of matrix products and convolutions lie in an ONNX file.
#include <algorithm>
#include <cmath>
#include <limits>

#include "codecs/int_layout.h"
#include "core/error.h"
#include "formats/onnx_raising.h"

namespace bitsmith::onnx {
namespace {

IntLayout layout_of(const CodedTensor& tensor) {
  return IntLayout(tensor.matrix(), tensor.scheme.options);
}

// The scale of a value that has 8-bit codes.
std::optional<double> scale_of_codes(const ExportState& state, ValueId id) {
  const Node* node = state.coded[static_cast<size_t>(id)];
  if (node == nullptr) return std::nullopt;
  return static_cast<double>(state.numbers(node->inputs[1])[0]);
}

// What a matrix of codes [O, C] becomes: its elements in the file, in the order of the file.
struct Codes {
  std::vector<std::byte> codes;
  std::vector<double> scales;       // [O], or [blocks, O]
  std::vector<double> zero_points;  // as many; 0 if symmetric
};

// Symmetric codes are signed and count from 0; binary ones, ± scale / 2, are ± 1 of half the scale.
// Where the scale is 0 every code means 0 and becomes the one that still does under any other.
Codes read_codes(const CodedTensor& tensor, bool transposed) {
  const IntLayout layout = layout_of(tensor);
  const auto* in = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
  const int64_t rows = layout.shape.rows;
  const int64_t cols = layout.shape.cols;
  const bool binary = layout.symmetric && layout.bits == 1;
  const int offset = layout.symmetric ? 1 << (layout.bits - 1) : 0;
  Codes result;
  result.codes.resize(static_cast<size_t>(rows * cols));
  result.scales.resize(static_cast<size_t>(layout.groups * rows));
  result.zero_points.resize(result.scales.size());
  std::vector<uint8_t> row(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    layout.unpack_row(in, r, row.data());
    for (int64_t g = 0; g < layout.groups; ++g) {
      const auto at = static_cast<size_t>(g * rows + r);
      const double scale = layout.scale(in, r, g);
      const int zero = layout.symmetric ? 0 : static_cast<int>(layout.zero(in, r, g));
      result.scales[at] = binary ? scale / 2 : scale;
      result.zero_points[at] = zero;
      const int64_t end = std::min((g + 1) * layout.group_cols, cols);
      for (int64_t c = g * layout.group_cols; c < end; ++c) {
        const int stored = row[static_cast<size_t>(c)];
        const int code = scale == 0 ? zero : binary ? 2 * stored - 1 : stored - offset;
        result.codes[static_cast<size_t>(transposed ? c * rows + r : r * cols + c)] =
            static_cast<std::byte>(code);
      }
    }
  }
  return result;
}

// A channel whose weights are all 0 may have a scale of 0, in units of which its bias could not be
// counted: it gets one that is fine enough for it.
void replace_zero_scales(const ExportState& state, const Node& node, std::vector<double>& scales) {
  const std::optional<double> input_scale = scale_of_codes(state, node.inputs[0]);
  std::vector<float> bias(scales.size(), 0);
  if (input_scale && node.inputs[2] != kNoValue) bias = state.numbers(node.inputs[2]);
  for (size_t i = 0; i < scales.size(); ++i) {
    if (scales[i] != 0) continue;
    const float size = i < bias.size() ? std::abs(bias[i]) : 0;
    scales[i] = size > 0 ? static_cast<double>(size) / (*input_scale * 0x1p15) : 1;
  }
}

// Two in a byte, the first one in the low bits.
std::vector<std::byte> pack_nibbles(const std::vector<std::byte>& codes) {
  std::vector<std::byte> packed((codes.size() + 1) / 2);
  for (size_t i = 0; i < codes.size(); ++i) {
    packed[i / 2] |= (codes[i] & std::byte{15}) << (i % 2 == 0 ? 0 : 4);
  }
  return packed;
}

bool is_four_bits(ElementType type) { return type == kInt4 || type == kUint4; }

std::vector<std::byte> bytes_of(const std::vector<double>& whole_numbers) {
  std::vector<std::byte> bytes;
  for (const double x : whole_numbers) bytes.push_back(static_cast<std::byte>(static_cast<int>(x)));
  return bytes;
}

}  // namespace

WeightForm ExportState::weight_form(const Node& node) const {
  const CodedTensor& tensor = model.parameter(graph.value(node.inputs[1]).name);
  const bool linear = node.op == "linear";
  WeightForm form;
  form.transposed = linear && graph.value(node.inputs[0]).shape.size() != 2;
  const auto as_numbers = [&](std::string_view reason) {
    form.note = float_note(tensor, reason);
    return form;
  };
  if (as_float || tensor.scheme.codec->info().id != "int") return as_numbers("");
  const IntLayout layout = layout_of(tensor);
  const bool by_row = layout.groups <= 1;
  const bool integer = scale_of_codes(*this, node.inputs[0]).has_value();
  if (!by_row && (!linear || integer)) {
    return as_numbers("ONNX has one scale for each output channel here, not one for each group");
  }
  if (!layout.symmetric && integer) {
    return as_numbers("integer products have no zero points for each output channel");
  }
  form.integer = integer;
  form.transposed = linear;
  form.block = by_row ? 0 : layout.group_cols;
  const bool packed = layout.bits <= 4 && linear && !integer;
  form.type = layout.symmetric ? (packed ? kInt4 : kInt8) : (packed ? kUint4 : kUint8);
  if (layout.bits <= 4 && !packed) {
    form.note =
        fmt::format("{} lies in {}: ONNX Runtime multiplies no {} of 4 bits", tensor.scheme.label(),
                    element_type_name(form.type),
                    linear ? "quantized activations by weights" : "kernels of convolutions");
  }
  return form;
}

std::string ExportState::weight(const Node& node, const WeightForm& form) {
  const ValueId id = node.inputs[1];
  const Value& value = graph.value(id);
  const CodedTensor& tensor = model.parameter(value.name);
  if (form.type == kFloat && !form.transposed) {
    add_note(tensor, form.note);
    return as(id, kFloat);
  }
  const std::string kind =
      fmt::format("{}{}", element_type_name(form.type), form.transposed ? " transposed" : "");
  const auto [known, added] = forms.emplace(std::pair{id, kind}, "");
  if (!added) return known->second;
  add_note(tensor, form.note);
  known->second = name_of_form(id, form.type);
  const MatrixShape m = tensor.matrix();
  Shape shape = value.shape;
  if (form.transposed) std::swap(shape[0], shape[1]);
  if (form.type == kFloat) {
    const std::vector<float> rows = numbers(id);
    std::vector<float> elements(rows.size());
    for (int64_t r = 0; r < m.rows; ++r) {
      for (int64_t c = 0; c < m.cols; ++c) {
        elements[static_cast<size_t>(c * m.rows + r)] = rows[static_cast<size_t>(r * m.cols + c)];
      }
    }
    file.tensor(known->second, kFloat, shape, std::as_bytes(std::span(elements)));
    return known->second;
  }
  Codes codes = read_codes(tensor, form.transposed);
  replace_zero_scales(*this, node, codes.scales);
  const bool blocks = form.block > 0;
  const Shape of_scales =
      blocks ? Shape{static_cast<int64_t>(codes.scales.size()) / m.rows, m.rows} : Shape{m.rows};
  std::vector<std::string> inputs = {unique_name(value.name + ".codes"),
                                     unique_name(value.name + ".scale"),
                                     unique_name(value.name + ".zero_point")};
  const bool four = is_four_bits(form.type);
  const std::vector<std::byte> zeros = bytes_of(codes.zero_points);
  file.tensor(inputs[0], form.type, shape, four ? pack_nibbles(codes.codes) : codes.codes);
  constant(inputs[1], kFloat, of_scales, codes.scales);
  file.tensor(inputs[2], form.type, of_scales, four ? pack_nibbles(zeros) : zeros);
  std::vector<ProtobufMessage> attributes = {
      attribute("axis", int64_t{form.transposed && !blocks ? 1 : 0})};
  if (blocks) attributes.push_back(attribute("block_size", form.block));
  file.node(node_message("DequantizeLinear", known->second, inputs, {known->second}, attributes));
  return known->second;
}

std::string ExportState::bias(const Node& node, const WeightForm& form) {
  const ValueId id = node.inputs[2];
  if (id == kNoValue) return "";
  const std::optional<double> input_scale = scale_of_codes(*this, node.inputs[0]);
  if (!form.integer || !input_scale) return as(id, kFloat);
  const CodedTensor& weight = model.parameter(graph.value(node.inputs[1]).name);
  std::vector<double> scales = read_codes(weight, false).scales;
  replace_zero_scales(*this, node, scales);
  const std::vector<float> numbers_of_bias = numbers(id);
  std::vector<double> units;
  std::vector<double> codes;
  for (size_t o = 0; o < scales.size(); ++o) {
    // float32, as it lies in the file.
    const double unit = static_cast<double>(static_cast<float>(*input_scale * scales[o]));
    const double code = std::nearbyint(static_cast<double>(numbers_of_bias[o]) / unit);
    if (!(std::abs(code) <= std::numeric_limits<int32_t>::max())) {
      add_note(model.parameter(graph.value(id).name),
               "stays float32: int32 cannot hold it in units of input scale * weight scale");
      return as(id, kFloat);
    }
    units.push_back(unit);
    codes.push_back(code);
  }
  const std::string& name = graph.value(id).name;
  const Shape shape = graph.value(id).shape;
  // Once for each node: another that shares it may have other units.
  const std::string made = name_of_form(id, kInt32);
  const std::vector<std::string> inputs = {unique_name(name + ".codes"),
                                           unique_name(name + ".scale")};
  constant(inputs[0], kInt32, shape, codes);
  constant(inputs[1], kFloat, shape, units);
  file.node(
      node_message("DequantizeLinear", made, inputs, {made}, {attribute("axis", int64_t{0})}));
  return made;
}

}  // namespace bitsmith::onnx
