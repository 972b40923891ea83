// How a node of the graph becomes nodes of an ONNX file: what the rules of onnx_raise_*.cc use.
// They are the inverse of those of onnx_lower_*.cc.
#pragma once

#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/model.h"
#include "formats/onnx_export.h"
#include "formats/onnx_writer.h"
#include "graph/operators.h"

namespace bitsmith::onnx {

// Per-axis scales, and nearly all operators as they still are.
inline constexpr int64_t kBaseOpset = 13;

// How the weight of a conv or linear node lies in the file.
struct WeightForm {
  ElementType type = kFloat;  // of its elements: numbers, or codes of a DequantizeLinear
  bool transposed = false;    // a linear layer's as [C, O]
  int64_t block = 0;          // input features that share a scale; 0: all
  bool integer = false;       // the input is quantized too: the bias becomes int32
  std::string note;           // if the codes do not stay as they are: what they become, and why
};

// The state of an export. Rules see it through Raising.
struct ExportState {
  ExportState(const Model& network, bool weights_as_float);

  const Model& model;
  const Graph& graph;
  bool as_float;
  int64_t opset = kBaseOpset;
  FileWriter file;
  std::vector<const Node*> producers;  // [values]; nullptr for inputs and parameters
  std::vector<ElementType> types;      // [values]: what the file's nodes make
  // [values]: the dequantize that made a value, or what it is a copy of, from 8-bit codes of one
  // scale; else nullptr.
  std::vector<const Node*> coded;
  std::set<std::string, std::less<>> names;
  std::set<ValueId> named;  // parameters whose first form has their name
  std::map<std::pair<ValueId, std::string>, std::string> forms;  // values made once, by kind
  std::vector<OnnxNote> notes;

  std::string unique_name(std::string_view wanted);  // numbered if taken
  // A parameter's own name for its first form, by which it is found again.
  std::string name_of_form(ValueId parameter, ElementType type);
  std::vector<float> numbers(ValueId parameter) const;
  // The name of a value as elements of a type: itself, a Cast, or a constant.
  std::string as(ValueId id, ElementType type);
  // If float32 has to stand for codes.
  std::string float_note(const CodedTensor& tensor, std::string_view reason) const;
  void add_note(const CodedTensor& tensor, const std::string& text);  // the first one stays
  void constant(const std::string& name, ElementType type, const Shape& shape,
                const std::vector<double>& elements);

  // A copy of codes is quantized again, which changes nothing: integer runtimes look for that
  // around every operator that they compute on codes.
  void round_copy(const Node& node);

  WeightForm weight_form(const Node& node) const;
  std::string weight(const Node& node, const WeightForm& form);
  // "" if there is none.
  std::string bias(const Node& node, const WeightForm& form);
};

// A node that is being written.
class Raising {
 public:
  Raising(ExportState& state, const Node& from) : node(from), state_(state) {}

  const Node& node;
  int64_t opset() const { return state_.opset; }

  // Inputs.
  bool has(size_t i) const { return i < node.inputs.size() && node.inputs[i] != kNoValue; }
  const Shape& shape(size_t i) const { return state_.graph.value(node.inputs.at(i)).shape; }
  const Shape& output_shape() const { return state_.graph.value(node.outputs.at(0)).shape; }
  std::string input(size_t i, ElementType type = kFloat) {
    return state_.as(node.inputs.at(i), type);
  }
  ElementType type(size_t i) const {
    return state_.types.at(static_cast<size_t>(node.inputs.at(i)));
  }
  std::vector<float> numbers(size_t i) const { return state_.numbers(node.inputs.at(i)); }
  ExportState& state() { return state_; }

  // Constants named after the node.
  std::string integers(std::string_view part, const std::vector<int64_t>& elements);
  std::string scalar(std::string_view part, double x, ElementType type = kFloat);
  std::string constant(std::string_view part, const Shape& shape,
                       const std::vector<double>& elements, ElementType type = kFloat);

  // Nodes: set() makes the value of this one, step() one before it, whose name it returns.
  using Attributes = std::vector<ProtobufMessage>;
  void set(std::string_view op, const std::vector<std::string>& inputs,
           const Attributes& attributes = {}, ElementType type = kFloat);
  std::string step(std::string_view part, std::string_view op,
                   const std::vector<std::string>& inputs, const Attributes& attributes = {});

  [[noreturn]] void unsupported(std::string_view reason) const;

 private:
  ExportState& state_;
};

// Rules register themselves under the id of the graph's operator.
struct RaiseRule {
  std::string_view op;
  void (*raise)(Raising& node);
  // The opset in which all is there that the rule writes; nullptr: kBaseOpset.
  int64_t (*opset)(const ExportState& state, const Node& node) = nullptr;
};
std::map<std::string_view, RaiseRule>& raise_rules();

struct RaiseRules {
  RaiseRules(std::initializer_list<RaiseRule> list) {
    for (const RaiseRule& rule : list) raise_rules()[rule.op] = rule;
  }
};

// The smallest of uint8, int8, uint16 and int16, in this order, that holds all codes [low, high];
// kUndefined if none does.
ElementType code_type(int64_t low, int64_t high);

}  // namespace bitsmith::onnx
