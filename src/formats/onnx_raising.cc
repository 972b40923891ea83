#include "formats/onnx_raising.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "formats/onnx_constant.h"

namespace bitsmith::onnx {
namespace {

// Operators that read input i as indices.
bool reads_indices(const Node& node, size_t i) {
  return (node.op == "embedding" && i == 0) || (node.op == "gather" && i == 1);
}

// Operators whose results are elements of their inputs, or 0.
bool is_copy(const Node& node) {
  if (node.op == "pad") return node.text("mode") != "constant" || node.number("value") == 0;
  return node.op == "max_pool" || node.op == "concat" || node.op == "slice" ||
         node.op == "reshape" || node.op == "transpose";
}

// Whether a dequantize reads 8-bit codes of one scale.
bool reads_codes(const ExportState& state, const Node& node) {
  const Node* codes = state.producers[static_cast<size_t>(node.inputs[0])];
  if (codes == nullptr || codes->op != "quantize") return false;
  const ElementType type = code_type(codes->integer("low"), codes->integer("high"));
  return (type == kUint8 || type == kInt8) && state.graph.value(node.inputs[1]).shape.empty();
}

ElementType type_of_codes(const ExportState& state, const Node& dequantize) {
  const Node& codes = *state.producers[static_cast<size_t>(dequantize.inputs[0])];
  return code_type(codes.integer("low"), codes.integer("high"));
}

double zero_point_of(const ExportState& state, const Node& dequantize) {
  const ValueId id = dequantize.inputs[2];
  return id == kNoValue ? 0 : static_cast<double>(state.numbers(id)[0]);
}

bool same_codes(const ExportState& state, const Node* a, const Node* b) {
  if (a == nullptr || b == nullptr) return false;
  return a == b || (type_of_codes(state, *a) == type_of_codes(state, *b) &&
                    state.numbers(a->inputs[1]) == state.numbers(b->inputs[1]) &&
                    zero_point_of(state, *a) == zero_point_of(state, *b));
}

}  // namespace

std::map<std::string_view, RaiseRule>& raise_rules() {
  static std::map<std::string_view, RaiseRule> table;
  return table;
}

ElementType code_type(int64_t low, int64_t high) {
  if (low >= 0 && high <= 255) return kUint8;
  if (low >= -128 && high <= 127) return kInt8;
  if (low >= 0 && high <= 65535) return kUint16;
  return low >= -32768 && high <= 32767 ? kInt16 : kUndefined;
}

ExportState::ExportState(const Model& network, bool weights_as_float)
    : model(network), graph(network.graph), as_float(weights_as_float) {
  producers.assign(graph.values.size(), nullptr);
  types.assign(graph.values.size(), kFloat);
  std::set<ValueId> numbers(graph.outputs.begin(), graph.outputs.end());
  const auto add_name = [&](ValueId id) {
    if (names.insert(graph.value(id).name).second) return;
    fail(ErrorCode::kCorrupt, "onnx: two values of the network are named '{}'",
         graph.value(id).name);
  };
  for (const Node& node : graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!reads_indices(node, i)) numbers.insert(node.inputs[i]);
    }
    for (const ValueId id : node.outputs) {
      producers[static_cast<size_t>(id)] = &node;
      add_name(id);
    }
  }
  for (const ValueId id : graph.inputs) {
    add_name(id);
    if (!numbers.contains(id)) types[static_cast<size_t>(id)] = kInt64;
  }
  for (const ValueId id : graph.parameters()) add_name(id);
  coded.assign(graph.values.size(), nullptr);
  for (const Node& node : graph.nodes) {
    const Node*& made = coded[static_cast<size_t>(node.outputs[0])];
    if (node.op == "dequantize") {
      made = reads_codes(*this, node) ? &node : nullptr;
    } else if (is_copy(node)) {
      made = coded[static_cast<size_t>(node.inputs[0])];
      for (const ValueId id : node.inputs) {
        if (!same_codes(*this, made, coded[static_cast<size_t>(id)])) made = nullptr;
      }
    }
  }
}

void ExportState::round_copy(const Node& node) {
  const ValueId id = node.outputs[0];
  const Node* source = coded[static_cast<size_t>(id)];
  // ONNX Runtime sees through reshape and transpose by itself; around pads (1.30) its sums of codes
  // then differ from what they are by definition.
  const bool wanted = node.op == "concat" || node.op == "max_pool";
  if (!wanted || source == nullptr || types[static_cast<size_t>(id)] != kFloat) return;
  const bool quantized_anyway = std::ranges::all_of(graph.nodes, [&](const Node& reader) {
    return reader.op == "quantize" || std::ranges::count(reader.inputs, id) == 0;
  });
  if (quantized_anyway) return;
  const std::string& name = graph.value(id).name;
  const ElementType type = type_of_codes(*this, *source);
  const std::string scale = as(source->inputs[1], kFloat);
  const std::string zero = unique_name(name + ".zero_point");
  const std::string codes = unique_name(name + ".codes");
  const std::string rounded = unique_name(name + ".rounded");
  constant(zero, type, {}, {zero_point_of(*this, *source)});
  file.node(node_message("QuantizeLinear", codes, {name, scale, zero}, {codes}));
  file.node(node_message("DequantizeLinear", rounded, {codes, scale, zero}, {rounded}));
  forms[{id, element_type_name(kFloat)}] = rounded;
}

std::string ExportState::unique_name(std::string_view wanted) {
  std::string name(wanted);
  for (int i = 2; !names.insert(name).second; ++i) name = fmt::format("{}.{}", wanted, i);
  return name;
}

std::string ExportState::name_of_form(ValueId parameter, ElementType type) {
  const std::string& name = graph.value(parameter).name;
  if (named.insert(parameter).second) return name;
  return unique_name(name + "." + element_type_name(type));
}

std::vector<float> ExportState::numbers(ValueId parameter) const {
  return model.parameter(graph.value(parameter).name).decode_all();
}

void ExportState::constant(const std::string& name, ElementType type, const Shape& shape,
                           const std::vector<double>& elements) {
  Buffers buffers(elements.size() * sizeof(double));
  const Constant made = buffers.numbers(type, shape, elements);
  file.tensor(name, type, shape, std::as_bytes(std::span(made.bytes)));
}

std::string ExportState::as(ValueId id, ElementType type) {
  const Value& value = graph.value(id);
  const bool parameter = value.kind == ValueKind::kParameter;
  if (const auto made = forms.find({id, element_type_name(type)}); made != forms.end()) {
    return made->second;
  }
  if (!parameter && types[static_cast<size_t>(id)] == type) return value.name;
  const auto [known, added] = forms.emplace(std::pair{id, element_type_name(type)}, "");
  BITSMITH_ASSERT(added);
  if (!parameter) {
    known->second = unique_name(value.name + "." + element_type_name(type));
    file.node(node_message("Cast", known->second, {value.name}, {known->second},
                           {attribute("to", int64_t{type})}));
    return known->second;
  }
  const std::vector<float> elements = numbers(id);
  if (type == kFloat) {
    const CodedTensor& tensor = model.parameter(value.name);
    add_note(tensor, float_note(tensor, "only weights of conv and linear stay coded"));
    known->second = name_of_form(id, kFloat);
    file.tensor(known->second, kFloat, value.shape, std::as_bytes(std::span(elements)));
    return known->second;
  }
  known->second = name_of_form(id, type);
  std::vector<double> whole(elements.begin(), elements.end());
  for (double& x : whole) x = type == kBool ? static_cast<double>(x != 0) : std::trunc(x);
  constant(known->second, type, value.shape, whole);
  return known->second;
}

std::string ExportState::float_note(const CodedTensor& tensor, std::string_view reason) const {
  const std::string_view codec = tensor.scheme.codec->info().id;
  if (as_float || codec == "f32" || codec == "f16" || codec == "bf16") return "";
  return fmt::format("{} became float32: {}", tensor.scheme.label(),
                     codec == "int" ? reason : "ONNX has no type for it");
}

void ExportState::add_note(const CodedTensor& tensor, const std::string& text) {
  const bool known = std::ranges::find(notes, tensor.name, &OnnxNote::tensor) != notes.end();
  if (!text.empty() && !known) notes.push_back({tensor.name, text});
}

std::string Raising::integers(std::string_view part, const std::vector<int64_t>& elements) {
  const std::string name = state_.unique_name(fmt::format("{}.{}", node.name, part));
  const Shape shape = {static_cast<int64_t>(elements.size())};
  state_.file.tensor(name, kInt64, shape, std::as_bytes(std::span(elements)));
  return name;
}

std::string Raising::scalar(std::string_view part, double x, ElementType type) {
  return constant(part, {}, {x}, type);
}

std::string Raising::constant(std::string_view part, const Shape& shape,
                              const std::vector<double>& elements, ElementType type) {
  const std::string name = state_.unique_name(fmt::format("{}.{}", node.name, part));
  state_.constant(name, type, shape, elements);
  return name;
}

void Raising::set(std::string_view op, const std::vector<std::string>& inputs,
                  const Attributes& attributes, ElementType type) {
  const ValueId id = node.outputs.at(0);
  const std::string& name = state_.graph.value(id).name;
  state_.types[static_cast<size_t>(id)] = type;
  state_.file.node(node_message(op, name, inputs, {name}, attributes));
}

std::string Raising::step(std::string_view part, std::string_view op,
                          const std::vector<std::string>& inputs, const Attributes& attributes) {
  const std::string name = state_.unique_name(fmt::format("{}.{}", node.name, part));
  state_.file.node(node_message(op, name, inputs, {name}, attributes));
  return name;
}

void Raising::unsupported(std::string_view reason) const {
  fail(ErrorCode::kUnsupported, "onnx: node '{}' ({}): {}", node.name, node.op, reason);
}

}  // namespace bitsmith::onnx
