// The one intermediate representation: a graph of operators over named values.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/registry.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace bitsmith {

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;  // an optional input that is not given

using Attribute =
    std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;
using Attributes = std::map<std::string, Attribute, std::less<>>;

enum class ValueKind { kInput, kParameter, kActivation };

// What a parameter is for; decided by the family that built the graph, never by its name.
// Reports group by it, recipes select by it.
struct Value {
  std::string name;  // unique in the graph; a parameter's is its tensor's name in the file
  ValueKind kind = ValueKind::kActivation;
  Shape shape;       // extents below zero are symbols (kBatch, kTime)
  std::string role;  // parameters only: "embedding", "head", "norm", "attention.q", "mlp.down", ...
};

struct Node {
  std::string op;    // id of an operator, see operators.h
  std::string name;  // for messages and reports
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  Attributes attributes;

  int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  const std::vector<double>& numbers(std::string_view name) const;
  const std::vector<int64_t>& integers(std::string_view name) const;
};

// Nodes are kept in an order in which every value is made before it is used.
class Graph {
 public:
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;

  const Value& value(ValueId id) const { return values.at(static_cast<size_t>(id)); }
  ValueId find(std::string_view name) const;  // kNoValue if there is none

  ValueId add_input(std::string name, Shape shape);
  ValueId add_parameter(std::string name, Shape shape, std::string role);
  // Appends a node with one output; infers its shape. Throws kCorrupt if the shapes do not fit, the
  // result would be empty or beyond 2^48 elements, or a number among the attributes is not finite.
  ValueId add_node(std::string_view op, std::string name, std::vector<ValueId> inputs,
                   Attributes attributes = {});

  std::vector<ValueId> parameters() const;  // in order of first use

  nlohmann::json to_json() const;
  static Graph from_json(const nlohmann::json& json);  // kCorrupt with a reason for hostile input
};

// Whether it reads positions of a text.
bool is_language_model(const Graph& graph);

// A run of consecutive nodes with one activation in and one out: between two cut points.
struct Block {
  size_t begin = 0;  // nodes [begin, end)
  size_t end = 0;
  ValueId input = kNoValue;  // the one live activation before it (the graph's first input at first)
  ValueId output = kNoValue;  // the one live activation after it
  std::string name;           // for progress and reports
};

// Cut points are places where exactly one activation, or input of the graph, is live. Consecutive
// blocks that hold no parameter matrix are joined to the next, so that every block has something to
// compress. Throws kUnsupported if the graph has no input, output or node.
std::vector<Block> find_blocks(const Graph& graph);

// Removes nodes whose outputs nobody uses.
void remove_dead_nodes(Graph& graph);

// An operator's meaning: which shapes it takes and makes. How it is computed is defined by the
// executors (reference/, runtime/), which find it under the same id.
struct Operator {
  static const char* kind() { return "operator"; }
  PartInfo part;
  // Each position of the output depends on the same position of the inputs only.
  bool positionwise = true;
  // Returns the output's shape; throws Error(kCorrupt) naming the node if the inputs do not fit.
  Shape (*infer)(const Graph& graph, const Node& node) = nullptr;

  const PartInfo& info() const { return part; }
};

}  // namespace bitsmith
