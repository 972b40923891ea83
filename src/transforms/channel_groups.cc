#include "transforms/channel_groups.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "transforms/edits.h"

namespace bitsmith {
namespace {

class Finder {
 public:
  explicit Finder(const Network& network)
      : network_(network),
        graph_(network.graph),
        producers_(network.producers()),
        uses_(network.uses()) {}

  std::vector<ChannelGroup> run() const {
    std::vector<ChannelGroup> groups;
    for (const Node& node : graph_.nodes) {
      auto group = group_behind(node);
      if (!group) continue;
      for (const Use& use : uses(node.outputs[0])) group->readers.push_back(use.node);
      groups.push_back(std::move(*group));
    }
    std::ranges::stable_sort(groups, {}, [](const ChannelGroup& g) { return g.readers.front(); });
    return groups;
  }

 private:
  const std::vector<Use>& uses(ValueId id) const { return uses_[static_cast<size_t>(id)]; }
  size_t producer(ValueId id) const { return producers_[static_cast<size_t>(id)]; }
  const Shape& shape(ValueId id) const { return graph_.value(id).shape; }

  bool is_own_parameter(ValueId id) const {
    return id == kNoValue ||
           (graph_.value(id).kind == ValueKind::kParameter && uses(id).size() == 1);
  }
  bool is_own_linear(size_t n) const {
    if (n >= graph_.nodes.size() || graph_.nodes[n].op != "linear") return false;
    const Node& node = graph_.nodes[n];
    return is_own_parameter(node.inputs[1]) && is_own_parameter(node.inputs[2]);
  }
  bool read_by_own_linears(ValueId value) const {
    return !uses(value).empty() && !network_.is_output(value) &&
           std::ranges::all_of(uses(value), [&](const Use& use) {
             return use.input == 0 && is_own_linear(use.node);
           });
  }
  // The layer that makes a value which nothing else reads.
  std::optional<size_t> own_maker(ValueId value) const {
    const size_t maker = producer(value);
    if (!is_own_linear(maker) || uses(value).size() != 1 || network_.is_output(value)) return {};
    return maker;
  }

  // The group whose activation the node makes.
  std::optional<ChannelGroup> group_behind(const Node& node) const {
    if (node.outputs.empty()) return {};
    const ValueId value = node.outputs[0];
    if (!read_by_own_linears(value)) return {};
    const int64_t channels = shape(value).back();
    const auto n = static_cast<size_t>(&node - graph_.nodes.data());
    if (node.op == "rms_norm" || node.op == "layer_norm") {
      const bool own = std::ranges::all_of(node.inputs.begin() + 1, node.inputs.end(),
                                           [&](ValueId id) { return is_own_parameter(id); });
      if (!own || shape(node.inputs[1]).back() != channels) return {};
      return ChannelGroup{{}, n, channels};
    }
    if (node.op == "linear" && is_own_linear(n)) return ChannelGroup{{}, n, channels};
    if (node.op == "multiply") {
      // The factor that no function stands before: of silu(gate) * up, up.
      for (const ValueId factor : node.inputs) {
        const auto maker = own_maker(factor);
        if (maker && shape(factor) == shape(value)) return ChannelGroup{{}, *maker, channels};
      }
    }
    if (node.op == "attention") {
      const auto maker = own_maker(node.inputs[2]);
      if (!maker) return {};
      const int64_t head_dim = node.integer("head_dim");
      const int64_t made = shape(node.inputs[2]).back();
      return ChannelGroup{{}, *maker, made, head_dim, channels / made};
    }
    return {};
  }

  const Network& network_;
  const Graph& graph_;
  std::vector<size_t> producers_;
  std::vector<std::vector<Use>> uses_;
};

}  // namespace

std::vector<ChannelGroup> find_channel_groups(const Network& network) {
  return Finder(network).run();
}

std::vector<ChannelGroup> scalable_groups(const Network& network, std::string_view transform) {
  std::vector<ChannelGroup> groups = find_channel_groups(network);
  if (!groups.empty()) return groups;
  if (std::ranges::find(network.graph.nodes, "round_tokens", &Node::op) !=
      network.graph.nodes.end()) {
    fail(ErrorCode::kUnsupported,
         "transform '{}': what linear layers multiply is rounded per token already, which scales "
         "of channels would change: compress the model that this one was made from",
         transform);
  }
  fail(ErrorCode::kUnsupported,
       "transform '{}': the network has no norm, product or attention in front of linear layers "
       "whose channels could be scaled",
       transform);
}

void scale_channels(Network& network, const ChannelGroup& group,
                    const std::vector<float>& factors) {
  const Graph& graph = network.graph;
  std::vector<float> inverse(factors.size());
  std::ranges::transform(factors, inverse.begin(), [](float f) { return 1 / f; });
  const Node& maker = graph.nodes[group.maker];
  const bool is_layer = maker.op == "linear";
  for (size_t i = 1; i < maker.inputs.size(); ++i) {
    if (maker.inputs[i] == kNoValue) continue;
    network.edit(maker.inputs[i],
                 is_layer && i == 1 ? edits::scale_outputs(inverse) : edits::scale_inputs(inverse));
  }
  for (const size_t reader : group.readers) {
    const ValueId weight = graph.nodes[reader].inputs[1];
    std::vector<float> columns(static_cast<size_t>(graph.value(weight).shape[1]));
    for (size_t c = 0; c < columns.size(); ++c) {
      columns[c] = factors[static_cast<size_t>(group.source(static_cast<int64_t>(c)))];
    }
    network.edit(weight, edits::scale_inputs(std::move(columns)));
  }
}

}  // namespace bitsmith
