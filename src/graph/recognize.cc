#include "graph/recognize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

namespace bitsmith {
namespace {

bool is_close(double a, double b) { return std::abs(a - b) <= 1e-4 * std::abs(b); }

class Recognizer {
 public:
  Recognizer(Graph& graph, const ScalarSource& scalar) : graph_(graph), scalar_(scalar) {
    producer_.assign(graph.values.size(), nullptr);
    for (Node& node : graph.nodes) {
      for (const ValueId id : node.outputs) producer_[index(id)] = &node;
    }
    count_uses();
  }

  void run() {
    using Pattern = bool (Recognizer::*)(Node&);
    constexpr std::array<Pattern, 6> kPatterns = {
        &Recognizer::silu,       &Recognizer::hard_swish,  &Recognizer::gelu,
        &Recognizer::layer_norm, &Recognizer::linear_bias, &Recognizer::narrow_codes};
    for (Node& node : graph_.nodes) {
      for (const Pattern pattern : kPatterns) {
        if ((this->*pattern)(node)) break;
      }
    }
  }

 private:
  static size_t index(ValueId id) { return static_cast<size_t>(id); }

  // How many living nodes read each value; kept true when inputs are replaced.
  void count_uses() {
    uses_.assign(graph_.values.size(), 0);
    for (const ValueId id : graph_.outputs) ++uses_[index(id)];
    for (size_t i = graph_.nodes.size(); i-- > 0;) {
      const Node& node = graph_.nodes[i];
      if (uses_[index(node.outputs[0])] == 0) continue;
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) ++uses_[index(id)];
      }
    }
  }

  // A reader less; a node whose result nobody reads reads nothing any more.
  void release(ValueId id) {
    if (id == kNoValue || --uses_[index(id)] > 0 || producer_[index(id)] == nullptr) return;
    for (const ValueId input : producer_[index(id)]->inputs) release(input);
  }

  void replace_inputs(Node& node, std::vector<ValueId> inputs) {
    std::swap(node.inputs, inputs);
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) ++uses_[index(id)];
    }
    for (const ValueId id : inputs) release(id);
  }

  const Node* made_by(ValueId id, std::string_view op) const {
    const Node* node = id == kNoValue ? nullptr : producer_[index(id)];
    return node != nullptr && node->op == op ? node : nullptr;
  }
  // The same if nothing else reads the value.
  const Node* only_made_by(ValueId id, std::string_view op) const {
    return id != kNoValue && uses_[index(id)] == 1 ? made_by(id, op) : nullptr;
  }

  bool is_number(ValueId id, double expected) const {
    const std::optional<double> x = scalar_(id);
    return x && is_close(*x, expected);
  }

  // A commutative node's other input if one of them is the number.
  ValueId other_than(const Node& node, double number) const {
    if (is_number(node.inputs[1], number)) return node.inputs[0];
    if (is_number(node.inputs[0], number)) return node.inputs[1];
    return kNoValue;
  }

  bool same_shape(ValueId a, ValueId b) const {
    return graph_.value(a).shape == graph_.value(b).shape;
  }

  // Makes `node` a function of `x`; false if that would change its shape.
  bool become(Node& node, const char* op, std::vector<ValueId> inputs, Attributes attributes = {}) {
    if (!same_shape(inputs[0], node.outputs[0])) return false;
    node.op = op;
    node.attributes = std::move(attributes);
    replace_inputs(node, std::move(inputs));
    return true;
  }

  bool silu(Node& node) {
    if (node.op != "multiply") return false;
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const Node* gate = only_made_by(node.inputs[i], "sigmoid");
      const ValueId x = node.inputs[1 - i];
      if (gate != nullptr && gate->inputs[0] == x) return become(node, "silu", {x});
    }
    return false;
  }

  bool hard_swish(Node& node) {
    if (node.op == "multiply") {
      for (const size_t i : {size_t{0}, size_t{1}}) {
        const Node* gate = only_made_by(node.inputs[i], "hard_sigmoid");
        const ValueId x = node.inputs[1 - i];
        if (gate == nullptr || gate->inputs[0] != x) continue;
        if (!is_close(gate->number("slope"), 1.0 / 6) || !is_close(gate->number("offset"), 0.5)) {
          continue;
        }
        return become(node, "hard_swish", {x});
      }
    }
    if (node.op != "divide" || !is_number(node.inputs[1], 6)) return false;
    const Node* product = only_made_by(node.inputs[0], "multiply");
    if (product == nullptr) return false;
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const Node* clip = only_made_by(product->inputs[i], "clip");
      const ValueId x = product->inputs[1 - i];
      if (clip == nullptr || clip->number("low") != 0 || clip->number("high") != 6) continue;
      const Node* raised = only_made_by(clip->inputs[0], "add");
      if (raised != nullptr && other_than(*raised, 3) == x) return become(node, "hard_swish", {x});
    }
    return false;
  }

  // The x of 1 + erf(x / √2), or kNoValue.
  ValueId gelu_gate(ValueId id) const {
    const Node* raised = only_made_by(id, "add");
    const Node* erf = raised == nullptr ? nullptr : only_made_by(other_than(*raised, 1), "erf");
    if (erf == nullptr) return kNoValue;
    if (const Node* scaled = only_made_by(erf->inputs[0], "divide")) {
      return is_number(scaled->inputs[1], std::numbers::sqrt2) ? scaled->inputs[0] : kNoValue;
    }
    const Node* scaled = only_made_by(erf->inputs[0], "multiply");
    return scaled == nullptr ? kNoValue : other_than(*scaled, 1 / std::numbers::sqrt2);
  }

  // The factors of a product of three, one of which is the number 1/2, but that one.
  std::vector<ValueId> halved_factors(const Node& node) const {
    if (const ValueId product = other_than(node, 0.5); product != kNoValue) {
      const Node* inner = only_made_by(product, "multiply");
      return inner == nullptr ? std::vector<ValueId>{} : inner->inputs;
    }
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const Node* inner = only_made_by(node.inputs[i], "multiply");
      const ValueId half_of = inner == nullptr ? kNoValue : other_than(*inner, 0.5);
      if (half_of != kNoValue) return {half_of, node.inputs[1 - i]};
    }
    return {};
  }

  bool gelu(Node& node) {
    if (node.op != "multiply") return false;
    const std::vector<ValueId> factors = halved_factors(node);
    if (factors.size() != 2) return false;
    for (const size_t i : {size_t{0}, size_t{1}}) {
      if (gelu_gate(factors[i]) == factors[1 - i]) return become(node, "gelu", {factors[1 - i]});
    }
    return false;
  }

  // x - mean(x) over the last axis: x, or kNoValue.
  ValueId centred(ValueId id) const {
    const Node* difference = made_by(id, "subtract");
    if (difference == nullptr) return kNoValue;
    const ValueId x = difference->inputs[0];
    return is_last_mean(difference->inputs[1]) == x ? x : kNoValue;
  }

  // The x of a mean over its last axis that keeps it, or kNoValue.
  ValueId is_last_mean(ValueId id) const {
    const Node* mean = made_by(id, "reduce_mean");
    if (mean == nullptr || mean->integer("keep") != 1) return kNoValue;
    const auto rank = static_cast<int64_t>(graph_.value(mean->inputs[0]).shape.size());
    return mean->integers("axes") == std::vector<int64_t>{rank - 1} ? mean->inputs[0] : kNoValue;
  }

  // The x of x² , as a power or a product.
  ValueId squared(ValueId id) const {
    if (const Node* power = made_by(id, "power")) {
      return is_number(power->inputs[1], 2) ? power->inputs[0] : kNoValue;
    }
    const Node* product = made_by(id, "multiply");
    if (product == nullptr || product->inputs[0] != product->inputs[1]) return kNoValue;
    return product->inputs[0];
  }

  // The plain norm first; its weight and its bias are taken in when their nodes are reached.
  bool layer_norm(Node& node) {
    if (node.op == "divide") return plain_layer_norm(node);
    if (node.op != "multiply" && node.op != "add") return false;
    const size_t slot = node.op == "multiply" ? 1 : 2;
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const Node* norm = only_made_by(node.inputs[i], "layer_norm");
      const ValueId vector = node.inputs[1 - i];
      if (norm == nullptr || norm->inputs[slot] != kNoValue || norm->inputs[2] != kNoValue)
        continue;
      if (!is_vector(vector, graph_.value(node.outputs[0]).shape.back())) continue;
      std::vector<ValueId> inputs = norm->inputs;
      inputs[slot] = vector;
      graph_.values[index(vector)].role = slot == 1 ? "norm.scale" : "norm.bias";
      return become(node, "layer_norm", std::move(inputs), norm->attributes);
    }
    return false;
  }

  bool plain_layer_norm(Node& node) {
    const ValueId x = centred(node.inputs[0]);
    const Node* deviation = only_made_by(node.inputs[1], "sqrt");
    const Node* raised = deviation == nullptr ? nullptr : only_made_by(deviation->inputs[0], "add");
    if (x == kNoValue || raised == nullptr) return false;
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const std::optional<double> epsilon = scalar_(raised->inputs[i]);
      const ValueId square = is_last_mean(raised->inputs[1 - i]);
      if (!epsilon || *epsilon < 0 || square == kNoValue) continue;
      const ValueId difference = squared(square);
      if (difference == kNoValue || centred(difference) != x) continue;
      return become(node, "layer_norm", {x, kNoValue, kNoValue}, {{"epsilon", *epsilon}});
    }
    return false;
  }

  bool is_vector(ValueId id, int64_t length) const {
    const Value& value = graph_.value(id);
    return value.kind == ValueKind::kParameter && value.shape == Shape{length};
  }

  bool linear_bias(Node& node) {
    if (node.op != "add") return false;
    for (const size_t i : {size_t{0}, size_t{1}}) {
      const Node* linear = only_made_by(node.inputs[i], "linear");
      const ValueId bias = node.inputs[1 - i];
      if (linear == nullptr || linear->inputs[2] != kNoValue) continue;
      if (!is_vector(bias, graph_.value(linear->outputs[0]).shape.back())) continue;
      if (!same_shape(linear->outputs[0], node.outputs[0])) continue;
      graph_.values[index(bias)].role = "linear.bias";
      node.op = "linear";
      replace_inputs(node, {linear->inputs[0], linear->inputs[1], bias});
      return true;
    }
    return false;
  }

  bool narrow_codes(Node& node) {
    if (node.op != "clip") return false;
    const Node* codes = only_made_by(node.inputs[0], "quantize");
    if (codes == nullptr) return false;
    const double low = std::ceil(node.number("low"));
    const double high = std::floor(node.number("high"));
    const auto lowest = static_cast<double>(codes->integer("low"));
    const auto highest = static_cast<double>(codes->integer("high"));
    if (low != node.number("low") || high != node.number("high") || low >= high || low < lowest ||
        high > highest) {
      return false;
    }
    Attributes attributes = codes->attributes;
    attributes["low"] = static_cast<int64_t>(low);
    attributes["high"] = static_cast<int64_t>(high);
    return become(node, "quantize", std::vector<ValueId>(codes->inputs), std::move(attributes));
  }

  Graph& graph_;
  const ScalarSource& scalar_;
  std::vector<Node*> producer_;  // by value
  std::vector<int> uses_;
};

}  // namespace

void recognize_patterns(Graph& graph, const ScalarSource& scalar) {
  Recognizer(graph, scalar).run();
}

}  // namespace bitsmith
