// Transform `rotate`: randomised Hadamard rotations of what flows between layers.
#include <algorithm>

#include "core/error.h"
#include "core/random.h"
#include "graph/operators.h"
#include "transforms/edits.h"
#include "transforms/residual_stream.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

std::vector<float> random_signs(int64_t n, uint64_t seed) {
  Random random(seed, fmt::format("signs/{}", n));
  std::vector<float> signs(static_cast<size_t>(n));
  for (float& s : signs) s = random.below(2) == 0 ? 1.0F : -1.0F;
  return signs;
}

// Rotations of runs of channels by signs and a Hadamard matrix.
class HadamardBasis final : public StreamBasis {
 public:
  HadamardBasis(uint64_t seed, int64_t block) : seed_(seed), block_(block) {}

  bool can_rotate(int64_t channels) const {
    constexpr int64_t kMaxOdd = 512;  // as the operator allows
    const int64_t run = run_of(channels);
    return run > 1 && run / (run & -run) <= kMaxOdd;
  }
  ParameterEdit of_inputs(int64_t channels) const override {
    return edits::rotate_inputs(rotation(run_of(channels)));
  }
  ParameterEdit of_outputs(int64_t channels) const override {
    return edits::rotate_outputs(rotation(run_of(channels)));
  }
  ValueId add_operator(Network& network, ValueId value, bool inverse) const override {
    const Value& rotated = network.graph.value(value);
    const int64_t run = run_of(rotated.shape.back());
    const std::string name = fmt::format("{}.{}", rotated.name, inverse ? "unrotate" : "rotate");
    const ValueId signs = network.vector_parameter(fmt::format("rotation.{}.signs", run),
                                                   random_signs(run, seed_), "rotation");
    return ops::hadamard(network.graph, name, value, signs, inverse);
  }

 private:
  // How many of `channels` are rotated together.
  int64_t run_of(int64_t channels) const {
    return block_ > 0 && channels % block_ == 0 ? block_ : channels;
  }
  std::shared_ptr<const HadamardRotation> rotation(int64_t run) const {
    auto& found = rotations_[run];
    if (!found) found = std::make_shared<HadamardRotation>(random_signs(run, seed_));
    return found;
  }

  uint64_t seed_;
  int64_t block_;  // 0: all channels together
  mutable std::map<int64_t, std::shared_ptr<const HadamardRotation>> rotations_;
};

// Three independent rotations, Q below. Weights W [O, C] multiply from the right, y = x Wᵀ.
//
// Stream: every value of the residual stream becomes h Q (residual_stream.h).
// Heads: the channels of each head's values are rotated by one matrix: Qᵀ W for the layer that
// makes them, W Q for the layer that reads what attention mixes of them, which is linear in them.
// Products: what a product of two activations makes is rotated by an operator, and undone by W Q in
// the layers that read it.
//
// Each is of runs of `block` channels, if that is not 0 and divides them: outliers are then spread
// over their block alone, and an operator costs less.
class Rotation {
 public:
  Rotation(Network& network, uint64_t seed, int64_t block, ThreadPool& pool)
      : network_(network),
        graph_(network.graph),
        pool_(pool),
        basis_(seed, block),
        nodes_(network.graph.nodes.size()),
        stream_(network, [&](int64_t channels) { return basis_.can_rotate(channels); }) {}

  int64_t rotate_stream() {
    stream_.change(basis_, pool_);
    return stream_.size();
  }

  int64_t rotate_heads() {
    int64_t count = 0;
    for (size_t n = 0; n < nodes_; ++n) {
      if (graph_.nodes[n].op != "attention") continue;
      const ValueId values = graph_.nodes[n].inputs[2];
      const ValueId mixed = graph_.nodes[n].outputs[0];
      const size_t maker = stream_.producer(values);
      if (stream_.uses(values).size() != 1 || !stream_.owns_weight(maker) ||
          graph_.nodes[maker].op != "linear" || !stream_.read_by_own_weights(mixed)) {
        continue;
      }
      const int64_t head = graph_.nodes[n].integer("head_dim");
      if (!basis_.can_rotate(head)) continue;
      const Node& layer = graph_.nodes[maker];
      network_.edit(layer.inputs[1], basis_.of_outputs(head));
      if (layer.inputs[2] != kNoValue) network_.edit(layer.inputs[2], basis_.of_inputs(head));
      rotate_readers(mixed, head);
      ++count;
    }
    return count;
  }

  int64_t rotate_products() {
    int64_t count = 0;
    for (size_t n = 0; n < nodes_; ++n) {
      const Node& node = graph_.nodes[n];
      if (node.op != "multiply") continue;
      const ValueId product = node.outputs[0];
      const int64_t channels = graph_.value(product).shape.back();
      if (!basis_.can_rotate(channels) || !stream_.read_by_own_weights(product)) continue;
      rotate_readers(product, channels);
      stream_.redirect(stream_.uses(product), basis_.add_operator(network_, product, false));
      ++count;
    }
    return count;
  }

  void finish() { network_.place_new_nodes(nodes_); }

 private:
  void rotate_readers(ValueId value, int64_t channels) {
    for (const Use& use : stream_.uses(value)) {
      network_.edit(graph_.nodes[use.node].inputs[1], basis_.of_inputs(channels));
    }
  }

  Network& network_;
  Graph& graph_;
  ThreadPool& pool_;
  HadamardBasis basis_;
  size_t nodes_;  // before any was added
  ResidualStream stream_;
};

class Rotate final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    Rotation rotation(network, static_cast<uint64_t>(options.integer("seed")),
                      options.integer("block"), pool);
    int64_t count = 0;
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
