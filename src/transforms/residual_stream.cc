#include "transforms/residual_stream.h"

#include <algorithm>
#include <cmath>

#include "transforms/edits.h"

namespace bitsmith {
namespace {

size_t index(ValueId id) { return static_cast<size_t>(id); }

// In any basis the same.
bool is_linear_map(const Node& node) { return node.op == "add" || node.op == "scale"; }

}  // namespace

ResidualStream::ResidualStream(Network& network,
                               const std::function<bool(int64_t channels)>& allowed)
    : network_(network),
      graph_(network.graph),
      nodes_(graph_.nodes.size()),
      producers_(network.producers()),
      uses_(network.uses()),
      stream_(graph_.values.size(), false),
      channels_(graph_.values.size(), 0) {
  for (const Node& node : graph_.nodes) {
    if (node.op == "embedding" && allowed(graph_.value(node.outputs[0]).shape.back())) {
      stream_[index(node.outputs[0])] = true;
    }
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (const Node& node : graph_.nodes) {
      if (!is_linear_map(node)) continue;
      std::vector<ValueId> ends = node.inputs;
      ends.push_back(node.outputs[0]);
      const Shape& shape = graph_.value(ends.back()).shape;
      const bool even = std::ranges::all_of(ends, [&](ValueId id) {
        return graph_.value(id).kind == ValueKind::kActivation && graph_.value(id).shape == shape;
      });
      const auto in = [&](ValueId id) { return holds(id); };
      if (!even || std::ranges::none_of(ends, in) || std::ranges::all_of(ends, in)) continue;
      for (const ValueId id : ends) stream_[index(id)] = true;
      grown = true;
    }
  }
  for (size_t v = 0; v < stream_.size(); ++v) {
    if (stream_[v]) channels_[v] = graph_.values[v].shape.back();
  }
}

int64_t ResidualStream::size() const { return std::ranges::count(stream_, true); }

int64_t ResidualStream::channels() const {
  int64_t found = 0;
  for (size_t v = 0; v < stream_.size(); ++v) {
    if (!stream_[v]) continue;
    if (found != 0 && found != channels_[v]) return 0;
    found = channels_[v];
  }
  return found;
}

std::vector<ResidualStream::Reader> ResidualStream::readers() const {
  std::vector<Reader> result;
  for (size_t v = 0; v < stream_.size(); ++v) {
    if (!stream_[v]) continue;
    for (const Use& use : uses_[v]) {
      if (!reads_changed(static_cast<ValueId>(v), use)) continue;
      const Node& node = graph_.nodes[use.node];
      if (node.op == "linear") result.push_back({use.node, kNoValue});
      if (node.op != "rms_norm") continue;
      for (const Use& reader : uses(node.outputs[0])) {
        result.push_back({reader.node, node.inputs[1]});
      }
    }
  }
  std::ranges::sort(result, {}, &Reader::node);
  return result;
}

void ResidualStream::change(const StreamBasis& basis, ThreadPool& pool) {
  for (size_t v = 0; v < stream_.size(); ++v) {
    if (made_changed(static_cast<ValueId>(v))) {
      graph_.values[v].shape.back() = basis.kept(channels_[v]);
    }
  }
  for (size_t v = 0; v < stream_.size(); ++v) {
    if (!stream_[v]) continue;
    const auto id = static_cast<ValueId>(v);
    change_where_made(id, basis);
    change_where_read(id, basis, pool);
  }
}

bool ResidualStream::owns_weight(size_t n) const {
  if (n >= nodes_) return false;
  const Node& node = graph_.nodes[n];
  if (node.op != "linear" && node.op != "embedding") return false;
  if (uses(node.inputs[1]).size() != 1) return false;
  return node.op == "embedding" || node.inputs[2] == kNoValue || uses(node.inputs[2]).size() == 1;
}

bool ResidualStream::read_by_own_weights(ValueId value) const {
  const std::vector<Use>& readers = uses(value);
  return !readers.empty() && !network_.is_output(value) &&
         std::ranges::all_of(readers, [&](const Use& use) {
           return use.input == 0 && graph_.nodes[use.node].op == "linear" && owns_weight(use.node);
         });
}

void ResidualStream::redirect(const std::vector<Use>& uses, ValueId to) {
  for (const Use& use : uses) graph_.nodes[use.node].inputs[use.input] = to;
}

bool ResidualStream::is_sum(size_t n) const {
  return n < nodes_ && is_linear_map(graph_.nodes[n]) && holds(graph_.nodes[n].outputs[0]);
}

bool ResidualStream::made_changed(ValueId id) const {
  return holds(id) && (is_sum(producer(id)) || owns_weight(producer(id)));
}

// Sums, layers with weights of their own, and norms in front of such layers.
bool ResidualStream::reads_changed(ValueId id, const Use& use) const {
  const Node& node = graph_.nodes[use.node];
  if (is_sum(use.node)) return true;
  if (use.input == 0 && node.op == "linear" && owns_weight(use.node)) return true;
  return use.input == 0 && node.op == "rms_norm" && uses(node.inputs[1]).size() == 1 &&
         graph_.value(node.inputs[1]).shape[0] == channels_of(id) &&
         read_by_own_weights(node.outputs[0]);
}

void ResidualStream::change_where_made(ValueId id, const StreamBasis& basis) {
  const size_t maker = producer(id);
  if (is_sum(maker)) return;
  const int64_t channels = channels_of(id);
  if (owns_weight(maker)) {
    const Node& node = graph_.nodes[maker];
    const ValueId weight = node.inputs[1];
    const int64_t kept = basis.kept(channels);
    const Shape& shape = graph_.value(weight).shape;
    if (node.op == "embedding") {
      return network_.edit(weight, basis.of_inputs(channels), {shape[0], kept});
    }
    network_.edit(weight, basis.of_outputs(channels), {kept, shape[1]});
    if (node.inputs[2] != kNoValue) {
      network_.edit(node.inputs[2], basis.of_inputs(channels), {kept});
    }
    return;
  }
  std::vector<Use> changed;
  for (const Use& use : uses(id)) {
    if (reads_changed(id, use)) changed.push_back(use);
  }
  if (!changed.empty()) redirect(changed, basis.add_operator(network_, id, false));
}

void ResidualStream::change_where_read(ValueId id, const StreamBasis& basis, ThreadPool& pool) {
  const int64_t channels = channels_of(id);
  std::vector<Use> others;  // that must read it as it was
  for (const Use& use : uses(id)) {
    if (!reads_changed(id, use)) {
      others.push_back(use);
      continue;
    }
    Node& node = graph_.nodes[use.node];
    if (node.op == "linear") {
      const ValueId weight = node.inputs[1];
      const int64_t rows = graph_.value(weight).shape[0];
      network_.edit(weight, basis.of_inputs(channels), {rows, basis.kept(channels)});
    } else if (node.op == "rms_norm") {
      change_norm(node, channels, basis, pool);
    }
  }
  const bool output = network_.is_output(id);
  if (!made_changed(id) || (others.empty() && !output)) return;
  const ValueId as_it_was = basis.add_operator(network_, id, true);
  redirect(others, as_it_was);
  if (output) std::ranges::replace(graph_.outputs, id, as_it_was);
}

// Of n channels k are kept, which hold about all of the sum of squares: its mean over k of them is
// n / k times what it was, which the gains take back, and epsilon follows.
void ResidualStream::change_norm(Node& node, int64_t channels, const StreamBasis& basis,
                                 ThreadPool& pool) {
  const ValueId normed = node.outputs[0];
  const int64_t kept = basis.kept(channels);
  const std::vector<float> gains = network_.values(node.inputs[1], pool);
  for (const Use& reader : uses(normed)) {
    const ValueId weight = graph_.nodes[reader.node].inputs[1];
    const int64_t rows = graph_.value(weight).shape[0];
    network_.edit(weight, edits::scale_inputs(gains));
    network_.edit(weight, basis.of_inputs(channels), {rows, kept});
  }
  const double growth = static_cast<double>(channels) / static_cast<double>(kept);
  network_.set(node.inputs[1], std::vector<float>(static_cast<size_t>(kept),
                                                  static_cast<float>(std::sqrt(growth))));
  if (kept == channels) return;
  node.attributes["epsilon"] = node.number("epsilon") * growth;
  graph_.values[index(normed)].shape.back() = kept;
}

}  // namespace bitsmith
