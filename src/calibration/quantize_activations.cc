#include "calibration/quantize_activations.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <set>

#include "core/error.h"
#include "graph/operators_quantization.h"
#include "runtime/network/unary.h"

namespace bitsmith {
namespace {

class SiteFinder {
 public:
  explicit SiteFinder(const Graph& graph)
      : graph_(graph),
        readers_(graph.values.size()),
        producer_(graph.values.size(), nullptr),
        wanted_(graph.values.size(), false),
        group_(graph.values.size()) {
    std::iota(group_.begin(), group_.end(), 0);
    for (const Node& node : graph.nodes) {
      if (node.op == "quantize" || node.op == "dequantize") {
        fail(ErrorCode::kInvalidArgument,
             "activations: the network has quantized activations already (node '{}')", node.name);
      }
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) readers_[index(id)].push_back(&node);
      }
      for (const ValueId id : node.outputs) producer_[index(id)] = &node;
    }
  }

  std::vector<QuantizationSite> run() {
    for (size_t i = graph_.nodes.size(); i-- > 0;) want_inputs(graph_.nodes[i]);
    for (const Node& node : graph_.nodes) {
      if (node.op == "concat" && wanted_[index(node.outputs[0])]) tie(node);
    }
    std::map<ValueId, QuantizationSite> sites;
    std::vector<ValueId> order;
    for (const ValueId id : graph_.inputs) place(id, sites, order);
    for (const Node& node : graph_.nodes) place(node.outputs[0], sites, order);
    std::vector<QuantizationSite> result;
    for (const ValueId id : order) result.push_back(std::move(sites[id]));
    return result;
  }

 private:
  static size_t index(ValueId id) { return static_cast<size_t>(id); }
  const Shape& shape(ValueId id) const { return graph_.value(id).shape; }
  bool is_activation(ValueId id) const {
    return id != kNoValue && graph_.value(id).kind != ValueKind::kParameter;
  }
  bool is_output(ValueId id) const { return std::ranges::count(graph_.outputs, id) > 0; }

  // Whether the executor joins this relu or clip to the layer before it.
  bool is_joined(const Node& node) const {
    if (node.op != "relu" && node.op != "clip") return false;
    const ValueId x = node.inputs[0];
    const Node* layer = producer_[index(x)];
    constexpr std::array<std::string_view, 3> kTaking = {"conv", "linear", "add"};
    return layer != nullptr && std::ranges::count(kTaking, layer->op) > 0 &&
           readers_[index(x)].size() == 1 && !is_output(x);
  }

  // Whether the node's result is its input's elements as they are.
  static bool copies(const Node& node) {
    if (node.op == "pad") return node.text("mode") != "constant" || node.number("value") == 0;
    constexpr std::array<std::string_view, 4> kCopies = {"max_pool", "reshape", "transpose",
                                                         "slice"};
    return std::ranges::count(kCopies, node.op) > 0;
  }

  // Also through the activation that is joined to it.
  bool is_result_wanted(const Node& node) const {
    const ValueId y = node.outputs[0];
    if (wanted_[index(y)]) return true;
    const std::vector<const Node*>& readers = readers_[index(y)];
    return readers.size() == 1 && is_joined(*readers[0]) && wanted_[index(readers[0]->outputs[0])];
  }

  void want_inputs(const Node& node) {
    const ValueId x = node.inputs.empty() ? kNoValue : node.inputs[0];
    if (!is_activation(x)) return;
    const size_t rank = shape(x).size();
    const bool is_layer = (node.op == "conv" && rank <= 4) || node.op == "linear";
    const bool is_mean = node.op == "reduce_mean" && (rank == 3 || rank == 4) &&
                         node.integers("axes").size() == rank - 2 &&
                         node.integers("axes").front() == 2;
    if (is_layer || is_mean) {
      wanted_[index(x)] = true;
      return;
    }
    if (!is_result_wanted(node)) return;
    const bool pools = node.op == "average_pool" || node.op == "max_pool";
    const bool combines = node.op == "add" || node.op == "multiply" || node.op == "concat";
    const bool takes = pools ? rank <= 4 : combines || copies(node) || is_unary(node.op);
    if (!takes || is_joined(node)) return;
    if (!std::ranges::all_of(node.inputs, [&](ValueId id) { return is_activation(id); })) return;
    for (const ValueId id : node.inputs) wanted_[index(id)] = true;
  }

  int root(ValueId id) {
    int i = id;
    while (group_[index(i)] != i) i = group_[index(i)];
    return i;
  }

  // The value that `id` is a copy of, if nobody reads it on the way but the next.
  ValueId sole_source(ValueId id) const {
    while (readers_[index(id)].size() == 1 && !is_output(id)) {
      const Node* node = producer_[index(id)];
      if (node == nullptr || !copies(*node)) return id;
      id = node->inputs[0];
    }
    return kNoValue;
  }

  // Joins the inputs of a concat to its result; a result all of whose inputs are is a copy.
  void tie(const Node& concat) {
    const ValueId y = concat.outputs[0];
    bool all = true;
    for (const ValueId id : concat.inputs) {
      const ValueId source = sole_source(id);
      all = all && source != kNoValue;
      if (source != kNoValue) group_[index(root(source))] = root(y);
    }
    if (all) copied_.insert(y);
  }

  void place(ValueId id, std::map<ValueId, QuantizationSite>& sites, std::vector<ValueId>& order) {
    const Node* node = producer_[index(id)];
    const bool is_copy = node != nullptr && (copies(*node) || copied_.contains(id));
    // A copy of something that is not rounded (a parameter) is rounded itself.
    if (!wanted_[index(id)] || (is_copy && wanted_[index(node->inputs[0])])) return;
    const ValueId group = root(id);
    if (!sites.contains(group)) order.push_back(group);
    sites[group].observed = group;
    sites[group].values.push_back(id);
  }

  const Graph& graph_;
  std::vector<std::vector<const Node*>> readers_;  // [values]
  std::vector<const Node*> producer_;              // [values]
  std::vector<bool> wanted_;                       // [values]: somebody reads its codes
  std::vector<int> group_;                         // [values]: a forest
  std::set<ValueId> copied_;                       // results of concat that are copies
};

void set_number(Model& model, ValueId id, float number) {
  const std::string& name = model.graph.value(id).name;
  const auto bytes = std::as_bytes(std::span(&number, 1));
  model.buffers.push_back(
      std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
  model.parameters[name] = {
      name, {}, Scheme("f32", nlohmann::json::object()), *model.buffers.back()};
}

// A name that the graph does not have.
std::string free_name(const Graph& graph, const std::string& wanted) {
  std::string name = wanted;
  for (int i = 2; graph.find(name) != kNoValue; ++i) name = fmt::format("{}.{}", wanted, i);
  return name;
}

}  // namespace

std::vector<QuantizationSite> find_quantization_sites(const Graph& graph) {
  return SiteFinder(graph).run();
}

std::vector<ValueRange> observe_ranges(const Model& model, std::span<const QuantizationSite> sites,
                                       const CalibrationInputs& inputs,
                                       const ObserverChoice& observer, int bits, ThreadPool& pool,
                                       int64_t bytes) {
  std::vector<ValueId> values;
  std::vector<std::unique_ptr<Observer>> observers;
  for (const QuantizationSite& site : sites) {
    values.push_back(site.observed);
    observers.push_back(observer.method->make(observer.options));
  }
  observe_values(
      model, values, inputs, pool,
      [&](size_t i, std::span<const float> x, int64_t) { observers[i]->add(x); }, bytes);
  std::vector<ValueRange> ranges(sites.size());
  pool.run(static_cast<int64_t>(sites.size()), [&](int64_t i, int) {
    ranges[static_cast<size_t>(i)] = observers[static_cast<size_t>(i)]->range(bits);
  });
  return ranges;
}

void insert_quantization(Model& model, std::span<const QuantizationSite> sites,
                         std::span<const ValueRange> ranges, int bits) {
  BITSMITH_ASSERT(sites.size() == ranges.size() && bits >= 2 && bits <= 8);
  std::map<ValueId, AffineCode> codes;
  for (size_t i = 0; i < sites.size(); ++i) {
    for (const ValueId id : sites[i].values) codes.emplace(id, AffineCode(ranges[i], bits));
  }
  Graph& graph = model.graph;
  std::vector<Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  std::map<ValueId, ValueId> rounded;
  const auto round = [&](ValueId id) {
    const auto it = codes.find(id);
    if (it == codes.end()) return;
    const std::string name = graph.value(id).name;
    const auto parameter = [&](const char* suffix, const char* role, float number) {
      const ValueId p = graph.add_parameter(free_name(graph, name + suffix), {}, role);
      set_number(model, p, number);
      return p;
    };
    const ValueId scale = parameter(".scale", "quantization.scale", it->second.scale);
    const ValueId zero =
        parameter(".zero_point", "quantization.zero_point", static_cast<float>(it->second.zero));
    const ValueId q = ops::quantize(graph, free_name(graph, name + ".quantized"), id, scale, zero,
                                    0, 0, it->second.high);
    rounded[id] =
        ops::dequantize(graph, free_name(graph, name + ".dequantized"), q, scale, zero, 0);
  };
  const auto redirect = [&](ValueId& id) {
    const auto it = rounded.find(id);
    if (it != rounded.end()) id = it->second;
  };
  for (const ValueId id : graph.inputs) round(id);
  for (Node& node : nodes) {
    for (ValueId& id : node.inputs) redirect(id);
    const ValueId output = node.outputs[0];
    graph.nodes.push_back(std::move(node));
    round(output);
  }
  for (ValueId& id : graph.outputs) redirect(id);
}

}  // namespace bitsmith
