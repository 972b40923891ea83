// Transform `rotate`: randomised Hadamard rotations of what flows between layers.
#include <algorithm>

#include "core/error.h"
#include "core/random.h"
#include "graph/operators.h"
#include "transforms/edits.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

std::vector<float> random_signs(int64_t n, uint64_t seed) {
  Random random(seed, fmt::format("signs/{}", n));
  std::vector<float> signs(static_cast<size_t>(n));
  for (float& s : signs) s = random.below(2) == 0 ? 1.0F : -1.0F;
  return signs;
}

// Three independent rotations, Q below. Weights W [O, C] multiply from the right, y = x Wᵀ.
//
// Stream: every value of the residual stream becomes h Q. Layers that write into it become Qᵀ W.
// A norm that divides by the root mean square does not see Q once its gains are folded into the
// layers that read it, which become W diag(gain) Q.
// Heads: the channels of each head's values are rotated by one matrix: Qᵀ W for the layer that
// makes them, W Q for the layer that reads what attention mixes of them, which is linear in them.
// Products: what a product of two activations makes is rotated by an operator, and undone by W Q in
// the layers that read it.
//
// Each is of runs of `block` channels, if that is not 0 and divides them: outliers are then spread
// over their block alone, and an operator costs less.
//
// Where a weight is shared (a tied head) or something else reads the stream, an operator rotates
// there instead, so any graph stays the function that it was.
class Rotation {
 public:
  Rotation(Network& network, uint64_t seed, int64_t block, ThreadPool& pool)
      : network_(network),
        graph_(network.graph),
        pool_(pool),
        seed_(seed),
        block_(block),
        nodes_(network.graph.nodes.size()),
        producers_(network.producers()),
        uses_(network.uses()) {}

  int rotate_stream() {
    const std::vector<bool> stream = find_stream();
    for (size_t v = 0; v < stream.size(); ++v) {
      if (!stream[v]) continue;
      const auto id = static_cast<ValueId>(v);
      rotate_where_made(id, stream);
      rotate_where_read(id, stream);
    }
    return static_cast<int>(std::ranges::count(stream, true));
  }

  int rotate_heads() {
    int count = 0;
    for (size_t n = 0; n < nodes_; ++n) {
      if (graph_.nodes[n].op != "attention") continue;
      const ValueId values = graph_.nodes[n].inputs[2];
      const ValueId mixed = graph_.nodes[n].outputs[0];
      const size_t maker = producers_[index(values)];
      if (uses_[index(values)].size() != 1 || !owns_weight(maker) || !read_by_own_weights(mixed)) {
        continue;
      }
      const int64_t size = run_of(graph_.nodes[n].integer("head_dim"));
      if (!can_rotate(size)) continue;
      rotate_outputs(maker, size);
      rotate_readers(mixed, size);
      ++count;
    }
    return count;
  }

  int rotate_products() {
    int count = 0;
    for (size_t n = 0; n < nodes_; ++n) {
      const Node& node = graph_.nodes[n];
      if (node.op != "multiply") continue;
      const ValueId product = node.outputs[0];
      const int64_t size = run_of(graph_.value(product).shape.back());
      if (!can_rotate(size) || !read_by_own_weights(product)) continue;
      rotate_readers(product, size);
      redirect(uses_[index(product)], add_operator(product, size, false));
      ++count;
    }
    return count;
  }

  void finish() { network_.place_new_nodes(nodes_); }

 private:
  static size_t index(ValueId id) { return static_cast<size_t>(id); }

  // How many of `channels` are rotated together.
  int64_t run_of(int64_t channels) const {
    return block_ > 0 && channels % block_ == 0 ? block_ : channels;
  }

  static bool can_rotate(int64_t size) {
    constexpr int64_t kMaxOdd = 512;  // as the operator allows
    return size > 1 && size / (size & -size) <= kMaxOdd;
  }

  std::shared_ptr<const HadamardRotation> rotation(int64_t size) {
    auto& found = rotations_[size];
    if (!found) found = std::make_shared<HadamardRotation>(random_signs(size, seed_));
    return found;
  }

  // A node that rotates `value`; named after it.
  ValueId add_operator(ValueId value, int64_t size, bool inverse) {
    const ValueId signs = network_.vector_parameter(fmt::format("rotation.{}.signs", size),
                                                    random_signs(size, seed_), "rotation");
    const std::string name = graph_.value(value).name;
    return ops::hadamard(graph_, fmt::format("{}.{}", name, inverse ? "unrotate" : "rotate"), value,
                         signs, inverse);
  }

  void redirect(const std::vector<Use>& uses, ValueId to) {
    for (const Use& use : uses) graph_.nodes[use.node].inputs[use.input] = to;
  }

  // A linear layer or embedding whose matrix, and bias, nobody else reads.
  bool owns_weight(size_t n) const {
    if (n >= nodes_) return false;
    const Node& node = graph_.nodes[n];
    if (node.op != "linear" && node.op != "embedding") return false;
    if (uses_[index(node.inputs[1])].size() != 1) return false;
    return node.op == "embedding" || node.inputs[2] == kNoValue ||
           uses_[index(node.inputs[2])].size() == 1;
  }

  bool read_by_own_weights(ValueId value) const {
    const std::vector<Use>& readers = uses_[index(value)];
    return !readers.empty() && !network_.is_output(value) &&
           std::ranges::all_of(readers, [&](const Use& use) {
             return use.input == 0 && graph_.nodes[use.node].op == "linear" &&
                    owns_weight(use.node);
           });
  }

  void rotate_outputs(size_t n, int64_t size) {
    const Node& node = graph_.nodes[n];
    if (node.op == "embedding")
      return network_.edit(node.inputs[1], edits::rotate_inputs(rotation(size)));
    network_.edit(node.inputs[1], edits::rotate_outputs(rotation(size)));
    if (node.inputs[2] != kNoValue)
      network_.edit(node.inputs[2], edits::rotate_inputs(rotation(size)));
  }

  void rotate_readers(ValueId value, int64_t size) {
    for (const Use& use : uses_[index(value)]) {
      network_.edit(graph_.nodes[use.node].inputs[1], edits::rotate_inputs(rotation(size)));
    }
  }

  bool is_sum(size_t n, const std::vector<bool>& stream) const {
    if (n >= nodes_ || graph_.nodes[n].op != "add") return false;
    const Node& node = graph_.nodes[n];
    return stream[index(node.outputs[0])];
  }

  // The values that sums connect with the rows of an embedding.
  std::vector<bool> find_stream() const {
    std::vector<bool> stream(graph_.values.size(), false);
    for (const Node& node : graph_.nodes) {
      if (node.op == "embedding" &&
          can_rotate(run_of(graph_.value(node.outputs[0]).shape.back()))) {
        stream[index(node.outputs[0])] = true;
      }
    }
    for (bool grown = true; grown;) {
      grown = false;
      for (const Node& node : graph_.nodes) {
        if (node.op != "add") continue;
        const std::vector<ValueId> ends = {node.inputs[0], node.inputs[1], node.outputs[0]};
        const Shape& shape = graph_.value(ends[2]).shape;
        const bool even = std::ranges::all_of(ends, [&](ValueId id) {
          return graph_.value(id).kind == ValueKind::kActivation && graph_.value(id).shape == shape;
        });
        const auto in = [&](ValueId id) { return static_cast<bool>(stream[index(id)]); };
        if (!even || std::ranges::none_of(ends, in) || std::ranges::all_of(ends, in)) continue;
        for (const ValueId id : ends) stream[index(id)] = true;
        grown = true;
      }
    }
    return stream;
  }

  void rotate_where_made(ValueId id, const std::vector<bool>& stream) {
    const size_t maker = producers_[index(id)];
    if (is_sum(maker, stream)) return;
    const int64_t size = run_of(graph_.value(id).shape.back());
    if (owns_weight(maker)) return rotate_outputs(maker, size);
    std::vector<Use> rotated;
    for (const Use& use : uses_[index(id)]) {
      if (reads_rotated(use, stream)) rotated.push_back(use);
    }
    if (!rotated.empty()) redirect(rotated, add_operator(id, size, false));
  }

  // Sums, layers with weights of their own, and norms in front of such layers.
  bool reads_rotated(const Use& use, const std::vector<bool>& stream) const {
    const Node& node = graph_.nodes[use.node];
    if (is_sum(use.node, stream)) return true;
    if (use.input == 0 && node.op == "linear" && owns_weight(use.node)) return true;
    return use.input == 0 && node.op == "rms_norm" && uses_[index(node.inputs[1])].size() == 1 &&
           graph_.value(node.inputs[1]).shape[0] == graph_.value(node.inputs[0]).shape.back() &&
           read_by_own_weights(node.outputs[0]);
  }

  void rotate_where_read(ValueId id, const std::vector<bool>& stream) {
    const int64_t size = run_of(graph_.value(id).shape.back());
    std::vector<Use> others;  // that must read it as it was
    for (const Use& use : uses_[index(id)]) {
      if (!reads_rotated(use, stream)) {
        others.push_back(use);
        continue;
      }
      const Node& node = graph_.nodes[use.node];
      if (node.op == "linear") {
        network_.edit(node.inputs[1], edits::rotate_inputs(rotation(size)));
      } else if (node.op == "rms_norm") {
        const std::vector<float> gains = network_.values(node.inputs[1], pool_);
        for (const Use& reader : uses_[index(node.outputs[0])]) {
          network_.edit(graph_.nodes[reader.node].inputs[1], edits::scale_inputs(gains));
        }
        rotate_readers(node.outputs[0], size);
        network_.set(node.inputs[1], std::vector<float>(gains.size(), 1.0F));
      }
    }
    const size_t maker = producers_[index(id)];
    const bool rotated = is_sum(maker, stream) || owns_weight(maker);
    const bool output = network_.is_output(id);
    if (!rotated || (others.empty() && !output)) return;
    const ValueId as_it_was = add_operator(id, size, true);
    redirect(others, as_it_was);
    if (output) std::ranges::replace(graph_.outputs, id, as_it_was);
  }

  Network& network_;
  Graph& graph_;
  ThreadPool& pool_;
  uint64_t seed_;
  int64_t block_;  // 0: all channels together
  size_t nodes_;   // before any was added
  std::vector<size_t> producers_;
  std::vector<std::vector<Use>> uses_;
  std::map<int64_t, std::shared_ptr<const HadamardRotation>> rotations_;
};

class Rotate final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    Rotation rotation(network, static_cast<uint64_t>(options.integer("seed")),
                      options.integer("block"), pool);
    int count = 0;
    if (options.flag("stream")) count += rotation.rotate_stream();
    if (options.flag("heads")) count += rotation.rotate_heads();
    if (options.flag("products")) count += rotation.rotate_products();
    if (count == 0) {
      fail(ErrorCode::kUnsupported,
           "transform 'rotate': the network has no residual stream that begins at an embedding, no "
           "heads and no products in front of linear layers to rotate");
    }
    rotation.finish();
  }

 private:
  PartInfo info_{
      .id = "rotate",
      .summary = "randomised Hadamard rotations of the residual stream, of values and of products",
      .source =
          "Ashkboos et al. 2024 (QuaRot), arXiv:2404.00456; Chee et al. 2023 (QuIP), "
          "arXiv:2307.13304; any size by a Hartley matrix for the odd factor",
      .options = {{"stream", true, "the residual stream, with the norms' gains folded away"},
                  {"heads", true, "the values of each attention head"},
                  {"products", true, "the input of layers that read a product, by an operator"},
                  {"block", int64_t{0},
                   "channels that are rotated together, where this divides them; 0: all, or a head",
                   0, 1 << 20},
                  {"seed", int64_t{1}, "of the signs", 0, 1e15}}};
};

const Registration<Transform, Rotate> registration;

}  // namespace
}  // namespace bitsmith
