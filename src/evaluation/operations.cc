#include "evaluation/operations.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <set>

#include "graph/cost.h"

namespace bitsmith {
namespace {

// Numbers that a product is made of.
struct Operand {
  int bits = 32;
  bool integer = false;
};

// The codes that an activation stands for, also through operators that only move or choose them.
Operand activation_of(const Graph& graph, ValueId id) {
  static const std::set<std::string, std::less<>> kPassing = {
      "reshape", "transpose", "max_pool", "relu", "clip", "slice", "pad", "concat", "gather"};
  for (;;) {
    const auto made = std::ranges::find_if(
        graph.nodes, [&](const Node& node) { return node.outputs.at(0) == id; });
    if (made == graph.nodes.end()) return {};
    if (made->op == "quantize") {
      const auto levels = static_cast<uint64_t>(made->integer("high") - made->integer("low") + 1);
      return {static_cast<int>(std::bit_width(levels - 1)), true};
    }
    if (made->op == "round_tokens") return {static_cast<int>(made->integer("bits")), true};
    if (made->op != "dequantize" && !kPassing.contains(made->op)) return {};
    id = made->inputs.at(0);
  }
}

// The part of a tensor's weights that are not zero.
double density(const CodedTensor& tensor) {
  const std::vector<float> weights = tensor.decode_all();
  const auto count = static_cast<int64_t>(weights.size());
  const int64_t kept = count - std::ranges::count(weights, 0.0F);
  return static_cast<double>(kept) / static_cast<double>(std::max<int64_t>(1, count));
}

double multiplication_pj(const Operand& x, int weight_bits) {
  if (!x.integer) return x.bits <= 16 && weight_bits <= 16 ? 1.1 : 3.7;
  return std::max(x.bits, weight_bits) <= 8 ? 0.2 : 3.1;
}

double shift_pj(const Operand& x) { return !x.integer ? 0.03 : x.bits <= 8 ? 0.024 : 0.13; }
double addition_pj(const Operand& x) { return x.integer ? 0.1 : 0.9; }

std::string engineering(int64_t count) {
  if (count >= 10'000'000'000) return fmt::format("{:.1f} G", static_cast<double>(count) / 1e9);
  if (count >= 10'000) return fmt::format("{:.1f} M", static_cast<double>(count) / 1e6);
  return fmt::format("{}", count);
}

}  // namespace

OperationCount count_operations(const Model& model) {
  OperationCount result;
  for (const Node& node : model.graph.nodes) {
    const int64_t products = multiply_adds(model.graph, node);
    if (products == 0) continue;
    const Operand x = activation_of(model.graph, node.inputs.at(0));
    const Value& weight = model.graph.value(node.inputs.at(1));
    ProductCost cost{.bits = 32};
    int64_t kept = products;
    if (weight.kind == ValueKind::kParameter) {
      const CodedTensor& tensor = model.parameter(weight.name);
      cost = tensor.scheme.codec->product_cost(tensor.scheme.options);
      if (cost.skips_zeros) {
        kept = static_cast<int64_t>(static_cast<double>(products) * density(tensor) + 0.5);
      }
    } else {
      cost.bits = activation_of(model.graph, node.inputs[1]).bits;
    }
    result.products += products;
    result.skipped += products - kept;
    result.multiplications += kept * cost.multiplications;
    result.shifts += kept * cost.shifts;
    result.additions += kept * (cost.additions + 1);
    result.bit_operations += kept * (int64_t{cost.multiplications} * cost.bits * x.bits +
                                     int64_t{cost.shifts + cost.additions} * x.bits);
    result.energy_pj += static_cast<double>(kept) *
                        (cost.multiplications * multiplication_pj(x, cost.bits) +
                         cost.shifts * shift_pj(x) + (cost.additions + 1) * addition_pj(x));
  }
  return result;
}

std::string OperationCount::text() const {
  std::vector<std::string> parts;
  if (multiplications > 0) parts.push_back(engineering(multiplications) + " multiplications");
  if (shifts > 0) parts.push_back(engineering(shifts) + " shifts");
  parts.push_back(engineering(additions) + " additions");
  if (skipped > 0) {
    parts.push_back(
        fmt::format("{:.1f} % of products skipped",
                    100.0 * static_cast<double>(skipped) / static_cast<double>(products)));
  }
  parts.push_back(engineering(bit_operations) + " bit operations");
  return fmt::format("{}; {:.3g} µJ", fmt::join(parts, ", "), energy_pj * 1e-6);
}

nlohmann::json OperationCount::to_json() const {
  return {{"products", products},  {"skipped", skipped},     {"multiplications", multiplications},
          {"shifts", shifts},      {"additions", additions}, {"bit_operations", bit_operations},
          {"energy_pj", energy_pj}};
}

}  // namespace bitsmith
