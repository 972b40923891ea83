// How one node of an ONNX file becomes nodes of the graph: what the rules of onnx_lower_*.cc use.
#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "formats/model.h"
#include "formats/onnx_constant.h"
#include "graph/operators.h"

namespace bitsmith::onnx {

inline constexpr size_t kMaxRank = 8;  // of values of the graph

// What a name in the file stands for: elements known at import, or a value of the graph.
struct Operand {
  ElementType type = kUndefined;
  std::optional<Constant> constant;
  ValueId value = kNoValue;
};

// What a name of the file becomes: printable ASCII, '/' replaced by '.'.
std::string plain_name(std::string_view wanted);

// The state of an import. Rules see it through Lowering.
struct ImportState {
  ImportState(Model& m, std::string file_name, int64_t opset_version, uint64_t limit_bytes)
      : model(m), file(std::move(file_name)), opset(opset_version), buffers(limit_bytes) {}

  Model& model;
  std::string file;  // for messages
  int64_t opset;
  Buffers buffers;
  std::map<std::string_view, Operand> operands;
  std::set<std::string, std::less<>> names;                           // of values of the graph
  std::map<std::pair<const char*, std::string>, ValueId> parameters;  // by elements and shape, role
  ValueId last_batch = kNoValue;  // the last value made whose first extent is B

  // A plain name of its own, numbered if taken.
  std::string unique_name(std::string_view wanted);
  // The constant as a parameter of the graph. float32, float16 and bfloat16 stay where they lie.
  ValueId parameter(const Constant& constant, std::string_view wanted_name, std::string_view role);
};

// A node that is being lowered.
class Lowering {
 public:
  Lowering(ImportState& state, const FileNode& from) : node(from), state_(state) {}

  const FileNode& node;
  Graph& graph() { return state_.model.graph; }
  Buffers& buffers() { return state_.buffers; }
  int64_t opset() const { return state_.opset; }

  // Inputs.
  size_t inputs() const { return node.inputs.size(); }
  bool has(size_t i) const { return i < node.inputs.size() && !node.inputs[i].empty(); }
  bool is_constant(size_t i) const { return operand(i).constant.has_value(); }
  const Constant& constant(size_t i) const;  // kUnsupported if it is computed by the network
  ElementType type(size_t i) const { return operand(i).type; }
  const Shape& shape(size_t i) const;
  // As a value of the graph: constants become parameters of the role.
  ValueId value(size_t i, std::string_view role = "constant");
  ValueId optional_value(size_t i, std::string_view role) {
    return has(i) ? value(i, role) : kNoValue;
  }
  // A constant as a parameter of the graph, named like `wanted_name`.
  ValueId parameter(const Constant& constant, std::string_view wanted_name, std::string_view role) {
    return state_.parameter(constant, wanted_name, role);
  }
  // Constants that count or index.
  std::vector<int64_t> integers(size_t i) const;

  // Attributes.
  const Attribute* attribute(std::string_view name) const;
  int64_t integer(std::string_view name, int64_t otherwise) const;
  double number(std::string_view name, double otherwise) const;
  std::string text(std::string_view name, std::string_view otherwise) const;
  std::optional<std::vector<int64_t>> integers(std::string_view name) const;
  // Lists that were an attribute once and are input i in newer opsets.
  std::optional<std::vector<int64_t>> integers(std::string_view name, size_t i) const;
  // An axis counted from the end if it is below 0.
  size_t axis(int64_t axis, size_t rank) const;

  // Results. A rule names the node that makes its result name(), those before it name("part").
  std::string name(std::string_view part = "");
  void set(ValueId value, size_t output = 0) { set(value, type(0), output); }
  void set(ValueId value, ElementType type, size_t output);
  void set(const Constant& constant, size_t output = 0);
  bool wants(size_t output) const {
    return output < node.outputs.size() && !node.outputs[output].empty();
  }
  ValueId scalar(double x);  // a parameter []
  ValueId batch_value();     // a value whose first extent is B
  const Shape& shape_of(ValueId value) { return graph().value(value).shape; }

  [[noreturn]] void unsupported(std::string_view reason) const;  // kUnsupported
  [[noreturn]] void corrupt(std::string_view reason) const;      // kCorrupt

 private:
  const Operand& operand(size_t i) const;

  ImportState& state_;
};

// Rules register themselves under the operator's name in ONNX.
using Rule = void (*)(Lowering& node);
std::map<std::string_view, Rule>& rules();       // make nodes of the graph
std::map<std::string_view, Rule>& fold_rules();  // compute; used where all inputs are constants

struct Rules {
  Rules(std::initializer_list<std::pair<std::string_view, Rule>> list) {
    for (const auto& [op, rule] : list) rules()[op] = rule;
  }
};
struct FoldRules {
  FoldRules(std::initializer_list<std::pair<std::string_view, Rule>> list) {
    for (const auto& [op, rule] : list) fold_rules()[op] = rule;
  }
};

}  // namespace bitsmith::onnx
