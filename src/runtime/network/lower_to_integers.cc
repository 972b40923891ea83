#include "runtime/network/lower_to_integers.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "runtime/executor_parts.h"
#include "runtime/kernels/dyadic.h"
#include "runtime/network/integer_layer.h"
#include "runtime/network/unary.h"

namespace bitsmith {
namespace {

constexpr int64_t kSignedOffset = 128;  // of codes from -128 to 127, which become uint8

class Lowering {
 public:
  Lowering(const Graph& graph, const std::map<std::string, CodedTensor>& parameters,
           Products products)
      : source_(graph), parameters_(parameters), products_(products), uses_(graph.values.size()) {
    result_.graph = graph;
    result_.graph.nodes.clear();
    result_.encodings.resize(graph.values.size());
    for (const Node& node : graph.nodes) {
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) uses_[static_cast<size_t>(id)].push_back(&node);
      }
    }
  }

  IntegerGraph run() {
    for (const Node& node : source_.nodes) {
      if (!lower(node)) keep(node);
    }
    for (ValueId& id : result_.graph.outputs) id = as_float(id);
    return std::move(result_);
  }

 private:
  struct Codes {
    ValueId id = kNoValue;
    Encoding encoding;
  };
  // Codes that a quantize made: `offset` more than its numbers.
  struct Quantized {
    Codes codes;
    int64_t offset = 0;
  };

  bool lower(const Node& node) {
    const std::string& op = node.op;
    if (op == "quantize") return lower_quantize(node);
    if (op == "dequantize") return lower_dequantize(node);
    if (op == "conv" || op == "linear") return lower_layer(node);
    if (op == "add" || op == "multiply") return lower_binary(node);
    if (op == "average_pool" || op == "reduce_mean") return lower_mean(node);
    if (op == "max_pool" || op == "reshape" || op == "transpose" || op == "slice" || op == "pad") {
      return lower_copy(node);
    }
    if (op == "concat") return lower_concat(node);
    return is_unary(op) && lower_unary(node);
  }

  const Codes* codes(ValueId id) const {
    const auto it = codes_.find(id);
    return it == codes_.end() ? nullptr : &it->second;
  }

  const Shape& shape(ValueId id) const { return source_.value(id).shape; }

  // One number of a parameter [].
  double scalar(ValueId id) const {
    return find_parameter(source_, parameters_, id).decode_all().at(0);
  }

  // What the codes of a quantize mean; nullopt if they are not of 8 bits, or by channel.
  std::optional<Quantized> encoding_of(const Node& node) const {
    if (!shape(node.inputs[1]).empty()) return std::nullopt;
    const int64_t low = node.integer("low");
    const int64_t high = node.integer("high");
    const int64_t offset = low < 0 ? kSignedOffset : 0;
    if (low + offset < 0 || high + offset > 255) return std::nullopt;
    const double scale = scalar(node.inputs[1]);
    const double zero = node.inputs[2] == kNoValue ? 0 : scalar(node.inputs[2]);
    if (!(std::isfinite(scale) && scale > 0)) return std::nullopt;
    if (!(zero >= static_cast<double>(low) && zero <= static_cast<double>(high))) {
      return std::nullopt;
    }
    Quantized q;
    q.offset = offset;
    q.codes.encoding = {scale, static_cast<int32_t>(zero) + static_cast<int32_t>(offset),
                        static_cast<int32_t>(low + offset), static_cast<int32_t>(high + offset)};
    return q;
  }

  // The encoding in which all readers of a value want it, if they are quantize nodes that agree.
  std::optional<Encoding> target(ValueId id) const {
    if (std::ranges::count(source_.outputs, id) > 0) return std::nullopt;
    std::optional<Encoding> wanted;
    for (const Node* node : uses_[static_cast<size_t>(id)]) {
      if (node->op != "quantize" || node->inputs[0] != id) return std::nullopt;
      const auto quantized = encoding_of(*node);
      if (!quantized || (wanted && *wanted != quantized->codes.encoding)) return std::nullopt;
      wanted = quantized->codes.encoding;
    }
    return wanted;
  }

  Codes new_codes(ValueId like, const Encoding& encoding, const char* suffix = ".codes") {
    Graph& graph = result_.graph;
    const Value& value = source_.value(like);
    const auto id = static_cast<ValueId>(graph.values.size());
    graph.values.push_back({value.name + suffix, ValueKind::kActivation, value.shape, ""});
    result_.encodings.emplace_back(encoding);
    return {id, encoding};
  }

  void emit(const Node& node, std::string op, std::vector<ValueId> inputs, ValueId output,
            Attributes attributes) {
    result_.graph.nodes.push_back(
        {std::move(op), node.name, std::move(inputs), {output}, std::move(attributes)});
  }

  // A node whose result are codes, under another name.
  bool emit_codes(const Node& node, std::string op, std::vector<ValueId> inputs,
                  const Encoding& encoding) {
    const ValueId output = node.outputs[0];
    const Codes made = new_codes(output, encoding);
    emit(node, std::move(op), std::move(inputs), made.id, node.attributes);
    codes_[output] = made;
    return true;
  }

  // A value as numbers; where there are only codes, they are dequantized here.
  ValueId as_float(ValueId id) {
    if (id == kNoValue || floats_.contains(id)) return id;
    const auto quantized = quantized_.find(id);
    const Codes* coded = quantized != quantized_.end() ? &quantized->second.codes : codes(id);
    if (coded == nullptr) return id;
    const bool is_number = quantized != quantized_.end();  // the code itself
    Attributes attributes;
    attributes["scale"] = is_number ? 1.0 : coded->encoding.scale;
    attributes["zero"] = is_number ? quantized->second.offset : int64_t{coded->encoding.zero};
    result_.graph.nodes.push_back(
        {"int8.dequantize", source_.value(id).name, {coded->id}, {id}, std::move(attributes)});
    floats_.insert(id);
    return id;
  }

  void keep(Node node) {
    for (ValueId& id : node.inputs) id = as_float(id);
    result_.graph.nodes.push_back(std::move(node));
  }

  bool lower_quantize(const Node& node) {
    std::optional<Quantized> quantized = encoding_of(node);
    if (!quantized) return false;
    const Encoding& wanted = quantized->codes.encoding;
    const Codes* have = codes(node.inputs[0]);
    if (have == nullptr) {
      quantized->codes = new_codes(node.outputs[0], wanted);
      emit(node, "int8.quantize", {as_float(node.inputs[0])}, quantized->codes.id, {});
    } else if (fits(have->encoding, wanted)) {
      quantized->codes = *have;
    } else {
      quantized->codes = rescaled(node, *have, node.outputs[0], wanted);
    }
    quantized_[node.outputs[0]] = *quantized;
    return true;
  }

  // Whether codes of one encoding are those of another as they are.
  static bool fits(const Encoding& from, const Encoding& to) {
    return from.scale == to.scale && from.zero == to.zero && from.low >= to.low &&
           from.high <= to.high;
  }

  Codes rescaled(const Node& node, const Codes& from, ValueId like, const Encoding& to) {
    const Codes made = new_codes(like, to, ".rescaled");
    emit(node, "int8.table", {from.id}, made.id, {{"function", std::string("identity")}});
    return made;
  }

  bool lower_dequantize(const Node& node) {
    const auto it = quantized_.find(node.inputs[0]);
    if (it == quantized_.end() || !shape(node.inputs[1]).empty()) return false;
    const Quantized& q = it->second;
    const double zero = node.inputs[2] == kNoValue ? 0 : scalar(node.inputs[2]);
    const bool same = scalar(node.inputs[1]) == q.codes.encoding.scale &&
                      zero + static_cast<double>(q.offset) == q.codes.encoding.zero;
    if (same) codes_[node.outputs[0]] = q.codes;
    return same;
  }

  bool lower_layer(const Node& node) {
    const Codes* x = codes(node.inputs[0]);
    const Shape& weight = shape(node.inputs[1]);
    if (x == nullptr || weight.size() > 4) return false;
    const auto numbers = [&](ValueId id) {
      return id == kNoValue ? std::vector<float>()
                            : find_parameter(source_, parameters_, id).decode_all();
    };
    const auto layer =
        make_integer_layer(numbers(node.inputs[1]), weight[0], numbers(node.inputs[2]),
                           x->encoding.scale, static_cast<uint8_t>(x->encoding.zero));
    if (!layer || (!layer->is_int8 && products_ == Products::kMultiply)) return false;
    const std::string op = kCodePrefix + node.op;
    const std::vector<ValueId> inputs = {x->id, node.inputs[1], node.inputs[2]};
    const auto y = target(node.outputs[0]);
    if (!y) {
      emit(node, op, inputs, node.outputs[0], node.attributes);
      return true;
    }
    const bool scales = std::ranges::all_of(
        layer->scales, [&](double s) { return std::abs(s) <= kMaxDyadicScale * y->scale; });
    return scales && emit_codes(node, op, inputs, *y);
  }

  bool lower_binary(const Node& node) {
    const Codes* a = codes(node.inputs[0]);
    const Codes* b = codes(node.inputs[1]);
    const auto y = target(node.outputs[0]);
    if (a == nullptr || b == nullptr || !y) return false;
    const double most = kMaxDyadicScale * y->scale;
    const double a_scale = a->encoding.scale;
    const double b_scale = b->encoding.scale;
    const bool scales =
        node.op == "add" ? a_scale <= most && b_scale <= most : a_scale * b_scale <= most;
    return scales && emit_codes(node, kCodePrefix + node.op, {a->id, b->id}, *y);
  }

  // Means over windows, and over all spatial axes. The latter may end a network, as a layer may.
  bool lower_mean(const Node& node) {
    const Codes* x = codes(node.inputs[0]);
    const size_t rank = shape(node.inputs[0]).size();
    if (x == nullptr || rank < 3 || rank > 4) return false;
    const bool is_global = node.op == "reduce_mean";
    int64_t cells = 1;
    if (is_global) {
      const std::vector<int64_t>& axes = node.integers("axes");
      if (axes.size() != rank - 2 || axes.front() != 2) return false;
      for (size_t i = 2; i < rank; ++i) cells = saturating(cells, shape(node.inputs[0])[i]);
    } else {
      for (const int64_t extent : node.integers("kernel")) cells = saturating(cells, extent);
    }
    constexpr int64_t kMostCells = int64_t{1} << 20;  // sums of codes fit 32 bits
    const auto y = target(node.outputs[0]);
    if (cells > kMostCells || (!y && !is_global)) return false;
    const std::string op = kCodePrefix + node.op;
    if (!y) {
      emit(node, op, {x->id}, node.outputs[0], node.attributes);
      return true;
    }
    return x->encoding.scale <= kMaxDyadicScale * y->scale && emit_codes(node, op, {x->id}, *y);
  }
  static int64_t saturating(int64_t a, int64_t b) {
    constexpr int64_t kMost = int64_t{1} << 31;
    return a > kMost / b ? kMost : a * b;
  }

  // Elements are moved or chosen: the result has the input's encoding.
  bool lower_copy(const Node& node) {
    const Codes* x = codes(node.inputs[0]);
    if (x == nullptr) return false;
    const bool is_pool = node.op == "max_pool";
    if (is_pool && shape(node.inputs[0]).size() > 4) return false;
    // Zero has a code of its own, other numbers may have none.
    const bool constant = node.op == "pad" && node.text("mode") == "constant";
    if (constant && node.number("value") != 0) return false;
    return emit_codes(node, is_pool ? "int8.max_pool" : node.op, {x->id}, x->encoding);
  }

  bool lower_concat(const Node& node) {
    const Codes* first = codes(node.inputs[0]);
    if (first == nullptr) return false;
    const auto wanted = target(node.outputs[0]);
    const Encoding y = wanted ? *wanted : first->encoding;
    for (const ValueId id : node.inputs) {
      const Codes* x = codes(id);
      if (x == nullptr || (!wanted && !fits(x->encoding, y))) return false;
      if (x->encoding.scale > kMaxDyadicScale * y.scale) return false;
    }
    std::vector<ValueId> inputs;
    for (const ValueId id : node.inputs) {
      const Codes x = *codes(id);
      inputs.push_back(fits(x.encoding, y) ? x.id : rescaled(node, x, id, y).id);
    }
    return emit_codes(node, node.op, std::move(inputs), y);
  }

  // A table of all codes.
  bool lower_unary(const Node& node) {
    const Codes* x = codes(node.inputs[0]);
    if (x == nullptr) return false;
    const auto wanted = target(node.outputs[0]);
    if (!wanted && node.op != "relu") return false;
    const ValueId from = x->id;
    const Encoding y = wanted ? *wanted : x->encoding;
    Node table = node;
    table.attributes["function"] = node.op;
    return emit_codes(table, "int8.table", {from}, y);
  }

  const Graph& source_;
  const std::map<std::string, CodedTensor>& parameters_;
  Products products_;
  std::vector<std::vector<const Node*>> uses_;  // [values]: who reads them
  IntegerGraph result_;
  std::map<ValueId, Codes> codes_;          // values of the source as codes
  std::map<ValueId, Quantized> quantized_;  // results of quantize nodes
  std::set<ValueId> floats_;                // of these, what is there as numbers too
};

}  // namespace

IntegerGraph lower_to_integers(const Graph& graph,
                               const std::map<std::string, CodedTensor>& parameters,
                               Products products) {
  return Lowering(graph, parameters, products).run();
}

}  // namespace bitsmith
