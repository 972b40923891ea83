#include "tuning/slimming.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/error.h"

namespace bitsmith {
namespace {

size_t index(ValueId id) { return static_cast<size_t>(id); }

bool is_layer(const Node& node) { return node.op == "conv" || node.op == "linear"; }

// A convolution of one filter for each channel.
bool is_depthwise(const Graph& graph, const Node& node) {
  const Shape& weight = graph.value(node.inputs[1]).shape;
  return node.op == "conv" && node.integer("groups") > 1 && weight[1] == 1 &&
         weight[0] == node.integer("groups");
}

// Follows channels from the layer that makes them: `source` of a value is the site whose channels
// its second extent counts, `repeat` numbers to a channel (pixels of a flattened image).
struct Flow {
  int source = -1;
  int64_t repeat = 1;
};

class FlowFinder {
 public:
  explicit FlowFinder(const Graph& graph)
      : graph_(graph), flows_(graph.values.size()), uses_(graph.values.size(), 0) {
    for (const Node& node : graph.nodes) {
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) ++uses_[index(id)];
      }
    }
    for (const Node& node : graph.nodes) visit(node);
    for (const ValueId id : graph.outputs) lock(id);
  }

  const std::vector<std::string>& layers() const { return layers_; }
  bool is_free(int source) const { return source >= 0 && !locked_[static_cast<size_t>(source)]; }
  // Whose channels a value has, if they may go; else source is -1.
  Flow flow(ValueId id) const {
    const Flow flow = flows_[index(id)];
    return is_free(flow.source) ? flow : Flow{};
  }

 private:
  const Shape& shape(ValueId id) const { return graph_.value(id).shape; }
  bool is_own_parameter(ValueId id) const {
    return id == kNoValue ||
           (graph_.value(id).kind == ValueKind::kParameter && uses_[index(id)] == 1);
  }
  void lock(ValueId id) {
    const int source = id == kNoValue ? -1 : flows_[index(id)].source;
    if (source >= 0) locked_[static_cast<size_t>(source)] = true;
  }
  void lock_inputs(const Node& node) {
    for (const ValueId id : node.inputs) lock(id);
  }

  void visit(const Node& node) {
    const ValueId y = node.outputs[0];
    if (is_layer(node)) {
      visit_layer(node, y);
    } else if (node.op == "batch_norm" && owns_parameters(node) &&
               flows_[index(node.inputs[0])].repeat == 1) {
      flows_[index(y)] = flows_[index(node.inputs[0])];
    } else if (keeps_channels(node)) {
      flows_[index(y)] = flows_[index(node.inputs[0])];
    } else if (const auto flattened = flatten(node)) {
      flows_[index(y)] = *flattened;
    } else {
      lock_inputs(node);
    }
  }

  void visit_layer(const Node& node, ValueId y) {
    const bool own = is_own_parameter(node.inputs[1]) && is_own_parameter(node.inputs[2]);
    if (is_depthwise(graph_, node)) {
      if (!own) return lock_inputs(node);
      flows_[index(y)] = flows_[index(node.inputs[0])];
      return;
    }
    const bool grouped = node.op == "conv" && node.integer("groups") > 1;
    const bool channels_second = node.op == "conv" || shape(node.inputs[0]).size() == 2;
    if (!own || grouped || !channels_second) return lock_inputs(node);
    flows_[index(y)].source = static_cast<int>(layers_.size());
    layers_.push_back(node.name);
    locked_.push_back(false);
  }

  bool owns_parameters(const Node& node) const {
    return std::all_of(node.inputs.begin() + 1, node.inputs.end(),
                       [&](ValueId id) { return is_own_parameter(id); });
  }

  // Whether the result has the input's channels, each computed from it alone.
  bool keeps_channels(const Node& node) const {
    const ValueId x = node.inputs.empty() ? kNoValue : node.inputs[0];
    if (x == kNoValue || shape(x).size() < 2) return false;
    constexpr std::array<std::string_view, 10> kAlways = {
        "relu",       "clip",         "leaky_relu", "sigmoid",  "silu",
        "hard_swish", "hard_sigmoid", "gelu",       "max_pool", "average_pool"};
    if (std::ranges::count(kAlways, node.op) > 0) return true;
    const auto above = [&](const char* attribute) {
      return std::ranges::all_of(node.integers(attribute), [](int64_t axis) { return axis >= 2; });
    };
    if (node.op == "slice" || node.op == "reduce_mean" || node.op == "reduce_max") {
      return above("axes");
    }
    if (node.op == "pad") {
      const std::vector<int64_t>& pads = node.integers("pads");
      return pads[1] == 0 && pads[pads.size() / 2 + 1] == 0;
    }
    return false;
  }

  // [B, C, pixels..] as [B, C * pixels].
  std::optional<Flow> flatten(const Node& node) const {
    if (node.op != "reshape") return std::nullopt;
    const Shape& from = shape(node.inputs[0]);
    const Shape& to = shape(node.outputs[0]);
    const Flow flow = flows_[index(node.inputs[0])];
    if (from.size() < 2 || to.size() != 2 || from[0] != to[0] || flow.repeat != 1) {
      return std::nullopt;
    }
    const int64_t pixels =
        std::accumulate(from.begin() + 2, from.end(), int64_t{1}, std::multiplies<>());
    if (to[1] != from[1] * pixels) return std::nullopt;
    return Flow{flow.source, pixels};
  }

  const Graph& graph_;
  std::vector<Flow> flows_;  // [values]
  std::vector<int> uses_;    // [values]
  std::vector<std::string> layers_;
  std::vector<bool> locked_;
};

const Node& layer_named(const Graph& graph, const std::string& name) {
  for (const Node& node : graph.nodes) {
    if (is_layer(node) && node.name == name) return node;
  }
  fail(ErrorCode::kInvalidArgument, "slimming: the network has no layer '{}'", name);
}

std::vector<float> filter_norms(const Model& model, const std::string& layer) {
  const Node& node = layer_named(model.graph, layer);
  const CodedTensor& tensor = model.parameter(model.graph.value(node.inputs[1]).name);
  const std::vector<float> weights = tensor.decode_all();
  const auto rows = static_cast<size_t>(tensor.shape[0]);
  std::vector<float> norms(rows);
  for (size_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (size_t c = 0; c < weights.size() / rows; ++c) {
      const double w = weights[row * (weights.size() / rows) + c];
      sum += w * w;
    }
    norms[row] = static_cast<float>(std::sqrt(sum));
  }
  return norms;
}

// A channel that may go.
struct Candidate {
  float score = 0;
  size_t site = 0;
  size_t channel = 0;
};

// Removes the lowest-ranked of `candidates` (stable) until `count` are gone or none may go.
void remove_lowest(std::vector<Candidate> candidates, size_t count, const SlimOptions& options,
                   std::vector<SlimSite>& sites) {
  std::ranges::stable_sort(candidates, {}, &Candidate::score);
  for (const Candidate& candidate : candidates) {
    if (count == 0) return;
    std::vector<bool>& kept = sites[candidate.site].kept;
    const auto least = static_cast<int64_t>(
        std::max(1.0, std::ceil(options.keep * static_cast<double>(kept.size()))));
    if (std::ranges::count(kept, true) <= least) continue;
    kept[candidate.channel] = false;
    --count;
  }
}

// What is left of a tensor of `shape` after rows and columns were dropped; `repeat` columns stand
// for a channel.
std::vector<float> cut(const std::vector<float>& values, const Shape& shape,
                       const std::vector<bool>* rows, const std::vector<bool>* inputs,
                       int64_t repeat) {
  const auto row_count = static_cast<size_t>(shape[0]);
  const size_t cols = values.size() / row_count;
  const size_t channels = inputs != nullptr ? inputs->size() : 1;
  const size_t taps = cols / channels;  // numbers of a row that belong to one channel
  BITSMITH_ASSERT(repeat >= 1 && taps * channels == cols);
  std::vector<float> result;
  for (size_t row = 0; row < row_count; ++row) {
    if (rows != nullptr && !(*rows)[row]) continue;
    for (size_t col = 0; col < cols; ++col) {
      if (inputs == nullptr || (*inputs)[col / taps]) result.push_back(values[row * cols + col]);
    }
  }
  return result;
}

class Slimmer {
 public:
  Slimmer(const Model& model, const std::vector<SlimSite>& sites)
      : model_(model), graph_(model.graph), flows_(model.graph) {
    for (const std::string& layer : flows_.layers()) {
      const auto site = std::ranges::find(sites, layer, &SlimSite::layer);
      kept_.push_back(site == sites.end() ? nullptr : &site->kept);
    }
  }

  Model run() {
    result_ = model_;
    result_.graph = Graph();
    Graph& graph = result_.graph;
    for (const ValueId id : graph_.inputs) {
      ids_[id] = graph.add_input(graph_.value(id).name, graph_.value(id).shape);
    }
    for (const Node& node : graph_.nodes) add(node);
    for (const ValueId id : graph_.outputs) graph.outputs.push_back(ids_.at(id));
    return std::move(result_);
  }

 private:
  // Which channels of a value are kept; nullptr: all.
  const std::vector<bool>* kept(ValueId id) const {
    const Flow flow = flows_.flow(id);
    return flow.source < 0 ? nullptr : kept_[static_cast<size_t>(flow.source)];
  }

  void add(const Node& node) {
    const std::vector<bool>* made = kept(node.outputs[0]);
    const std::vector<bool>* read = node.inputs.empty() ? nullptr : kept(node.inputs[0]);
    Attributes attributes = node.attributes;
    if (is_layer(node)) {
      const bool depthwise = is_depthwise(graph_, node);
      const int64_t repeat = flows_.flow(node.inputs[0]).repeat;
      parameter(node.inputs[1], made, depthwise ? nullptr : read, repeat);
      if (node.inputs[2] != kNoValue) parameter(node.inputs[2], made, nullptr, 1);
      if (depthwise && made != nullptr) {
        attributes["groups"] = static_cast<int64_t>(std::ranges::count(*made, true));
      }
    } else if (node.op == "batch_norm") {
      for (size_t i = 1; i < node.inputs.size(); ++i) parameter(node.inputs[i], made, nullptr, 1);
    } else if (node.op == "reshape" && made != nullptr) {
      std::vector<int64_t> shape = node.integers("shape");
      shape[1] = std::ranges::count(*made, true) * flows_.flow(node.outputs[0]).repeat;
      attributes["shape"] = shape;
    }
    std::vector<ValueId> inputs;
    for (const ValueId id : node.inputs) inputs.push_back(id == kNoValue ? id : mapped(id));
    ids_[node.outputs[0]] =
        result_.graph.add_node(node.op, node.name, std::move(inputs), std::move(attributes));
  }

  ValueId mapped(ValueId id) {
    if (graph_.value(id).kind == ValueKind::kParameter) parameter(id, nullptr, nullptr, 1);
    return ids_.at(id);
  }

  // Adds a parameter of the old graph to the new one, cut.
  void parameter(ValueId id, const std::vector<bool>* rows, const std::vector<bool>* inputs,
                 int64_t repeat) {
    if (ids_.contains(id)) return;
    const Value& value = graph_.value(id);
    Shape shape = value.shape;
    if (rows != nullptr) shape[0] = std::ranges::count(*rows, true);
    if (inputs != nullptr) shape[1] = std::ranges::count(*inputs, true) * repeat;
    ids_[id] = result_.graph.add_parameter(value.name, shape, value.role);
    if (shape == value.shape) return;
    const std::vector<float> numbers =
        cut(model_.parameter(value.name).decode_all(), value.shape, rows, inputs, repeat);
    const auto bytes = std::as_bytes(std::span(numbers));
    result_.buffers.push_back(
        std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
    result_.parameters[value.name] = {value.name, shape, Scheme("f32", nlohmann::json::object()),
                                      *result_.buffers.back()};
  }

  const Model& model_;
  const Graph& graph_;
  FlowFinder flows_;
  std::vector<const std::vector<bool>*> kept_;  // [sources]
  std::map<ValueId, ValueId> ids_;              // old to new
  Model result_;
};

}  // namespace

std::map<std::string, std::vector<float>> batch_norm_scales(const Model& model) {
  const Graph& graph = model.graph;
  std::vector<int> uses(graph.values.size(), 0);
  std::vector<const Node*> producer(graph.values.size(), nullptr);
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) ++uses[index(id)];
    }
    producer[index(node.outputs[0])] = &node;
  }
  std::map<std::string, std::vector<float>> scales;
  for (const Node& node : graph.nodes) {
    if (node.op != "batch_norm" || uses[index(node.inputs[0])] != 1) continue;
    const Node* layer = producer[index(node.inputs[0])];
    if (layer == nullptr || !is_layer(*layer)) continue;
    std::vector<float> scale = model.parameter(graph.value(node.inputs[1]).name).decode_all();
    for (float& s : scale) s = std::abs(s);
    scales[layer->name] = std::move(scale);
  }
  return scales;
}

std::vector<SlimSite> find_slim_sites(const Graph& graph) {
  const FlowFinder flows(graph);
  std::vector<SlimSite> sites;
  for (size_t i = 0; i < flows.layers().size(); ++i) {
    if (!flows.is_free(static_cast<int>(i))) continue;
    const std::string& layer = flows.layers()[i];
    const int64_t channels = graph.value(layer_named(graph, layer).inputs[1]).shape[0];
    sites.push_back({layer, std::vector<bool>(static_cast<size_t>(channels), true)});
  }
  return sites;
}

void choose_channels(std::vector<SlimSite>& sites, const Model& model,
                     const std::map<std::string, std::vector<float>>& scores,
                     const SlimOptions& options) {
  if (sites.empty()) {
    fail(ErrorCode::kUnsupported,
         "'{}' has no channels that could be removed on their own: each is tied to others by a sum "
         "or a join, or is an output",
         model.path.string());
  }
  std::vector<Candidate> all;
  for (size_t s = 0; s < sites.size(); ++s) {
    const auto found = scores.find(sites[s].layer);
    const bool has_norm = found != scores.end() && found->second.size() == sites[s].kept.size();
    if (!has_norm && options.global) {
      fail(ErrorCode::kInvalidArgument,
           "'{}' has no batch norm behind layer '{}': its channels cannot be ranked with those of "
           "other layers; use scope = \"layer\"",
           model.path.string(), sites[s].layer);
    }
    const std::vector<float> own = has_norm ? found->second : filter_norms(model, sites[s].layer);
    std::vector<Candidate> candidates;
    for (size_t c = 0; c < own.size(); ++c) candidates.push_back({own[c], s, c});
    if (options.global) {
      all.insert(all.end(), candidates.begin(), candidates.end());
      continue;
    }
    const double count = options.share * static_cast<double>(own.size());
    remove_lowest(std::move(candidates), static_cast<size_t>(std::llround(count)), options, sites);
  }
  const double count = options.share * static_cast<double>(all.size());
  remove_lowest(std::move(all), static_cast<size_t>(std::llround(count)), options, sites);
}

Model slimmed(const Model& model, const std::vector<SlimSite>& sites) {
  return Slimmer(model, sites).run();
}

}  // namespace bitsmith
