// Transform `shift`: channels of activations moved to the middle of their range, and those that
// reach far beyond the others scaled down.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/operators.h"
#include "transforms/edits.h"
#include "transforms/layer_inputs.h"
#include "transforms/scaled_layers.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

// x = x' s + z: what layers read becomes x' = (x - z) / s, and they W x + b = (W s) x' + (b + W z).
//   z  the middle of the channel's range. It goes into the bias of the norm or layer that makes the
//      channel, and is an operator behind a norm that has none; what attention mixes moves as the
//      values do, because its weights add up to 1. A product cannot be moved.
//   s  max(1, half the range / t), one t for all channels of a group, searched.
class Shifting {
 public:
  Shifting(Network& network, const Options& options, ThreadPool& pool)
      : network_(network), options_(options), pool_(pool) {}

  void run(const ChannelGroup& group) {
    const Graph& graph = network_.graph;
    const auto channels = static_cast<size_t>(group.channels);
    const bool product = group.head_dim == 0 && graph.nodes[group.readers.front()].inputs[0] !=
                                                    graph.nodes[group.maker].outputs[0];
    std::vector<float> middle(channels, 0.0F);
    std::vector<float> factors(channels, 1.0F);
    if (network_.layer_inputs != nullptr) {
      const ChannelSpread& spread = network_.layer_inputs->spread(group.readers.front());
      const Ends ends = ends_of(group, spread);
      for (size_t c = 0; c < channels && !product; ++c) {
        middle[c] = (ends.least[c] + ends.most[c]) / 2;
      }
      std::vector<float> reach(channels);
      for (size_t c = 0; c < channels; ++c) {
        reach[c] = std::max(ends.most[c] - middle[c], middle[c] - ends.least[c]);
      }
      factors = search(group, spread.mean, middle, reach);
    }
    if (!product) {
      move_readers(group, middle);
      move_maker(group, middle, factors);
    }
    scale_channels(network_, group, factors);
  }

 private:
  // Of the maker's channels.
  struct Ends {
    std::vector<float> least;
    std::vector<float> most;
  };
  static Ends ends_of(const ChannelGroup& group, const ChannelSpread& spread) {
    const auto channels = static_cast<size_t>(group.channels);
    constexpr float kFar = std::numeric_limits<float>::infinity();
    Ends ends{std::vector<float>(channels, kFar), std::vector<float>(channels, -kFar)};
    for (size_t c = 0; c < spread.most.size(); ++c) {
      const auto source = static_cast<size_t>(group.source(static_cast<int64_t>(c)));
      ends.least[source] = std::min(ends.least[source], spread.least[c]);
      ends.most[source] = std::max(ends.most[source], spread.most[c]);
    }
    return ends;
  }

  // The factors of the t, of `steps` between the smallest reach and the largest, with the least
  // error of the layers behind: of their codes, and of inputs that are rounded to `bits` with the
  // largest reach as the end of their range.
  std::vector<float> search(const ChannelGroup& group, const std::vector<double>& mean,
                            const std::vector<float>& middle, const std::vector<float>& reach) {
    std::vector<float> best(reach.size(), 1.0F);
    const ScaledLayers layers(network_, group, options_.integer("rows"), pool_);
    if (layers.empty()) return best;
    const std::vector<double> moment = moved_moment(group, mean, middle);
    // A channel that never moves needs no scale.
    float least = std::numeric_limits<float>::infinity();
    float most = 0;
    for (const float r : reach) {
      if (r > 0) least = std::min(least, r);
      most = std::max(most, r);
    }
    if (!(most > 0)) return best;
    const int64_t steps = options_.integer("steps");
    const double levels = std::ldexp(1.0, static_cast<int>(options_.integer("bits")) - 1) - 1;
    double smallest = 0;
    for (int64_t step = 0; step < steps; ++step) {
      // From the largest reach, which scales nothing, to the smallest.
      const double part =
          static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, steps - 1));
      const double t = static_cast<double>(most) *
                       std::pow(static_cast<double>(least) / static_cast<double>(most), part);
      std::vector<float> factors;
      for (const float r : reach) {
        factors.push_back(static_cast<float>(std::max(1.0, static_cast<double>(r) / t)));
      }
      const double rounding = t / levels;
      const double error = layers.coding_error(moment, factors, pool_) +
                           layers.noise_error(factors) * rounding * rounding / 12;
      if (step > 0 && !(error < smallest)) continue;
      smallest = error;
      best = std::move(factors);
    }
    return best;
  }

  // The mean of (x - z)(x - z)ᵀ.
  std::vector<double> moved_moment(const ChannelGroup& group, const std::vector<double>& mean,
                                   const std::vector<float>& middle) {
    std::vector<double> moment = network_.layer_inputs->second_moment(group.readers.front());
    const size_t cols = mean.size();
    const auto z = [&](size_t c) {
      const int64_t source = group.source(static_cast<int64_t>(c));
      return static_cast<double>(middle[static_cast<size_t>(source)]);
    };
    for (size_t i = 0; i < cols; ++i) {
      for (size_t j = 0; j < cols; ++j) {
        moment[i * cols + j] += z(i) * z(j) - z(i) * mean[j] - mean[i] * z(j);
      }
      moment[i * cols + i] = std::max(0.0, moment[i * cols + i]);
    }
    return moment;
  }

  // b + W z.
  void move_readers(const ChannelGroup& group, const std::vector<float>& middle) {
    for (const size_t reader : group.readers) {
      const Node& node = network_.graph.nodes[reader];
      const Value& weight = network_.graph.value(node.inputs[1]);
      const auto rows = static_cast<size_t>(weight.shape[0]);
      const auto cols = static_cast<size_t>(weight.shape[1]);
      std::vector<float> bias(rows, 0.0F);
      if (std::ranges::any_of(middle, [](float z) { return z != 0; })) {
        const std::vector<float> w = network_.values(node.inputs[1], pool_);
        pool_.run(static_cast<int64_t>(rows), [&](int64_t r, int) {
          double sum = 0;
          for (size_t c = 0; c < cols; ++c) {
            const auto source = static_cast<size_t>(group.source(static_cast<int64_t>(c)));
            sum += static_cast<double>(w[static_cast<size_t>(r) * cols + c]) *
                   static_cast<double>(middle[source]);
          }
          bias[static_cast<size_t>(r)] = static_cast<float>(sum);
        });
      }
      add_to_bias(reader, std::move(bias));
    }
  }

  void add_to_bias(size_t layer, std::vector<float> addend) {
    const Node& node = network_.graph.nodes[layer];
    if (node.inputs[2] != kNoValue) return network_.edit(node.inputs[2], edits::shift(addend));
    const Value weight = network_.graph.value(node.inputs[1]);
    const ValueId bias = network_.add_computed(weight.name + ".bias", {weight.shape[0]},
                                               std::move(addend), weight.role + ".bias");
    network_.graph.nodes[layer].inputs[2] = bias;
  }

  // Before scale_channels(), which divides biases too.
  void move_maker(const ChannelGroup& group, const std::vector<float>& middle,
                  const std::vector<float>& factors) {
    std::vector<float> negative = middle;
    for (float& z : negative) z = -z;
    const Node& maker = network_.graph.nodes[group.maker];
    if (maker.op == "linear") return add_to_bias(group.maker, std::move(negative));
    if (maker.inputs.size() > 2 && maker.inputs[2] != kNoValue) {
      return network_.edit(maker.inputs[2], edits::shift(std::move(negative)));
    }
    for (size_t c = 0; c < negative.size(); ++c) negative[c] /= factors[c];
    Graph& graph = network_.graph;
    const ValueId made = maker.outputs[0];
    const std::string name = maker.name;
    const ValueId moves =
        network_.add_computed(name + ".shift", {group.channels}, std::move(negative), "shift");
    const size_t count = graph.nodes.size();
    const ValueId moved = ops::add(graph, name + ".shifted", made, moves);
    for (const size_t reader : group.readers) graph.nodes[reader].inputs[0] = moved;
    pending_ = std::min(pending_, count);
  }

 public:
  // Puts the operators where they belong; the numbers of nodes change.
  void finish() {
    if (pending_ < network_.graph.nodes.size()) network_.place_new_nodes(pending_);
  }

 private:
  Network& network_;
  const Options& options_;
  ThreadPool& pool_;
  size_t pending_ = std::numeric_limits<size_t>::max();  // the first node that was appended
};

class Shift final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }
  bool needs_statistics(const Options&) const override { return true; }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    const std::vector<ChannelGroup> groups = scalable_groups(network, info_.id);
    Shifting shifting(network, options, pool);
    for (const ChannelGroup& group : groups) shifting.run(group);
    shifting.finish();
  }

 private:
  PartInfo info_{
      .id = "shift",
      .summary =
          "channels of activations moved to the middle of their range, those that reach far beyond "
          "the others scaled",
      .source =
          "Wei et al. 2023 (Outlier Suppression+), arXiv:2304.09145, sections 4.1 and 4.2; "
          "differs: errors of the threshold by second moments and uniform rounding, channels "
          "behind layers, products and attention are scaled too, norms without biases get an "
          "operator",
      .options = {{"steps", int64_t{20}, "thresholds tried", 1, 200},
                  {"bits", int64_t{8}, "of activations, which scales are judged by", 2, 16},
                  {"rows", int64_t{256}, "of each layer that errors are measured on", 1, 1 << 20}}};
};

const Registration<Transform, Shift> registration;

}  // namespace
}  // namespace bitsmith
