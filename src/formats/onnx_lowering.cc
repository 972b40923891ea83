#include "formats/onnx_lowering.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace bitsmith::onnx {
namespace {

std::string describe(const FileNode& node) {
  const std::string_view name = !node.name.empty()      ? node.name
                                : !node.outputs.empty() ? node.outputs[0]
                                                        : "";
  return fmt::format("node '{}' ({}{}{})", name, node.domain, node.domain.empty() ? "" : ".",
                     node.op);
}

// float32 of numbers that it holds exactly: ids, masks, float64 is rounded.
Constant to_float32(ImportState& state, const Constant& constant, std::string_view name) {
  constexpr int64_t kExact = int64_t{1} << 24;
  if (is_integer(constant.type)) {
    const std::vector<int64_t> integers = integers_of(constant);
    for (const int64_t x : integers) {
      if (x < -kExact || x > kExact) {
        fail(ErrorCode::kUnsupported,
             "{}: tensor '{}' holds {}, which is no number that the network can compute with",
             state.file, name,
             x == kBatchMark || x == kUnknownMark ? "an extent that is not fixed"
                                                  : std::to_string(x));
      }
    }
    return state.buffers.integers(kFloat, constant.shape, integers);
  }
  return state.buffers.numbers(kFloat, constant.shape, numbers_of(constant));
}

}  // namespace

std::map<std::string_view, Rule>& rules() {
  static std::map<std::string_view, Rule> table;
  return table;
}

std::map<std::string_view, Rule>& fold_rules() {
  static std::map<std::string_view, Rule> table;
  return table;
}

std::string plain_name(std::string_view wanted) {
  std::string name;
  for (const char c : wanted) {
    const bool plain = c > ' ' && c < 0x7f && c != '"' && c != '\\';
    name += c == '/' ? '.' : plain ? c : '_';
  }
  name.erase(0, name.find_first_not_of('.'));
  return name.empty() ? "node" : name;
}

std::string ImportState::unique_name(std::string_view wanted) {
  const std::string name = plain_name(wanted);
  std::string numbered = name;
  for (int i = 2; !names.insert(numbered).second; ++i) numbered = fmt::format("{}.{}", name, i);
  return numbered;
}

ValueId ImportState::parameter(const Constant& constant, std::string_view wanted_name,
                               std::string_view role) {
  const std::string key = fmt::format("{} {} {}", role, fmt::join(constant.shape, ","),
                                      static_cast<int>(constant.type));
  const auto [known, added] = parameters.emplace(std::pair{constant.bytes.data(), key}, kNoValue);
  if (!added) return known->second;
  if (constant.count() == 0 || constant.shape.size() > kMaxRank) {
    fail(ErrorCode::kUnsupported, "{}: tensor '{}' {} is empty or has more than {} extents", file,
         wanted_name, to_string(constant.shape), kMaxRank);
  }
  const bool plain =
      constant.type == kFloat || constant.type == kFloat16 || constant.type == kBfloat16;
  const Constant stored = plain ? constant : to_float32(*this, constant, wanted_name);
  const char* codec = stored.type == kFloat ? "f32" : stored.type == kFloat16 ? "f16" : "bf16";
  const std::string name = unique_name(wanted_name);
  known->second = model.graph.add_parameter(name, stored.shape, std::string(role));
  model.parameters[name] = {name, stored.shape, Scheme(codec, nlohmann::json::object()),
                            std::as_bytes(std::span(stored.bytes))};
  return known->second;
}

const Operand& Lowering::operand(size_t i) const {
  if (!has(i)) corrupt(fmt::format("input {} is missing", i));
  const auto it = state_.operands.find(node.inputs[i]);
  if (it == state_.operands.end()) {
    corrupt(fmt::format("input '{}' is used before it is made", node.inputs[i]));
  }
  return it->second;
}

const Constant& Lowering::constant(size_t i) const {
  const Operand& found = operand(i);
  if (!found.constant) {
    unsupported(fmt::format("input {} ('{}') is computed by the network; it must be a constant", i,
                            node.inputs[i]));
  }
  return *found.constant;
}

const Shape& Lowering::shape(size_t i) const {
  const Operand& found = operand(i);
  return found.constant ? found.constant->shape : state_.model.graph.value(found.value).shape;
}

ValueId Lowering::value(size_t i, std::string_view role) {
  const Operand& found = operand(i);
  return found.constant ? state_.parameter(*found.constant, node.inputs[i], role) : found.value;
}

std::vector<int64_t> Lowering::integers(size_t i) const {
  constexpr int64_t kMost = int64_t{1} << 24;
  const Constant& found = constant(i);
  if (found.count() > kMost) {
    unsupported(fmt::format("input {} ('{}') holds {} numbers that count or index, more than {}", i,
                            node.inputs[i], found.count(), kMost));
  }
  return integers_of(found);
}

const Attribute* Lowering::attribute(std::string_view key) const {
  const auto it = std::ranges::find(node.attributes, key, &Attribute::name);
  return it == node.attributes.end() ? nullptr : &*it;
}

int64_t Lowering::integer(std::string_view key, int64_t otherwise) const {
  const Attribute* found = attribute(key);
  return found == nullptr ? otherwise : found->integer;
}

double Lowering::number(std::string_view key, double otherwise) const {
  const Attribute* found = attribute(key);
  return found == nullptr ? otherwise : static_cast<double>(found->number);
}

std::string Lowering::text(std::string_view key, std::string_view otherwise) const {
  const Attribute* found = attribute(key);
  return std::string(found == nullptr ? otherwise : found->text);
}

std::optional<std::vector<int64_t>> Lowering::integers(std::string_view key) const {
  const Attribute* found = attribute(key);
  if (found == nullptr) return std::nullopt;
  return found->integers;
}

std::optional<std::vector<int64_t>> Lowering::integers(std::string_view key, size_t i) const {
  if (has(i)) return integers(i);
  return integers(key);
}

size_t Lowering::axis(int64_t axis, size_t rank) const {
  const int64_t extent = static_cast<int64_t>(rank);
  if (axis < -extent || axis >= extent) {
    corrupt(fmt::format("axis {} of a tensor of {} extents", axis, rank));
  }
  return static_cast<size_t>(axis < 0 ? axis + extent : axis);
}

std::string Lowering::name(std::string_view part) {
  std::string base(node.name.empty() && !node.outputs.empty() ? node.outputs[0] : node.name);
  if (!part.empty()) base += fmt::format(".{}", part);
  return state_.unique_name(base);
}

void Lowering::set(ValueId value, ElementType type, size_t output) {
  const Shape& made = shape_of(value);
  if (!made.empty() && made[0] == kBatch) state_.last_batch = value;
  if (!wants(output)) return;
  if (!state_.operands.emplace(node.outputs[output], Operand{type, std::nullopt, value}).second) {
    corrupt(fmt::format("'{}' is made twice", node.outputs[output]));
  }
}

void Lowering::set(const Constant& constant, size_t output) {
  if (!is_possible(constant.shape)) {
    unsupported(fmt::format("a constant of {}", to_string(constant.shape)));
  }
  if (!wants(output)) return;
  if (!state_.operands.emplace(node.outputs[output], Operand{constant.type, constant, kNoValue})
           .second) {
    corrupt(fmt::format("'{}' is made twice", node.outputs[output]));
  }
}

ValueId Lowering::scalar(double x) {
  return state_.parameter(state_.buffers.numbers(kFloat, {}, {x}), name("constant"), "constant");
}

ValueId Lowering::batch_value() {
  if (state_.last_batch == kNoValue) unsupported("no value before it has the batch");
  return state_.last_batch;
}

void Lowering::unsupported(std::string_view reason) const {
  fail(ErrorCode::kUnsupported, "{}: {}: {}", state_.file, describe(node), reason);
}

void Lowering::corrupt(std::string_view reason) const {
  fail(ErrorCode::kCorrupt, "{}: {}: {}", state_.file, describe(node), reason);
}

}  // namespace bitsmith::onnx
