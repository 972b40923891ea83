// Transform `smooth`: activations give a part of their range to the weights that multiply them.
#include <algorithm>
#include <cmath>

#include "transforms/channel_groups.h"
#include "transforms/layer_inputs.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

// The largest magnitude of the weights that read each of a group's channels.
std::vector<float> largest_weights(const Network& network, const ChannelGroup& group,
                                   ThreadPool& pool) {
  std::vector<float> largest(static_cast<size_t>(group.channels), 0.0F);
  for (const size_t reader : group.readers) {
    const ValueId weight = network.graph.nodes[reader].inputs[1];
    const std::vector<float> weights = network.values(weight, pool);
    const auto cols = static_cast<size_t>(network.graph.value(weight).shape[1]);
    for (size_t i = 0; i < weights.size(); ++i) {
      const auto c = static_cast<size_t>(group.source(static_cast<int64_t>(i % cols)));
      largest[c] = std::max(largest[c], std::abs(weights[i]));
    }
  }
  return largest;
}

class Smooth final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }
  bool needs_statistics(const Options&) const override { return true; }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    for (const ChannelGroup& group : scalable_groups(network, info_.id)) {
      std::vector<float> factors(static_cast<size_t>(group.channels), 1.0F);
      if (network.layer_inputs != nullptr) {
        factors = factors_of(network, group, options.number("alpha"), pool);
      }
      scale_channels(network, group, factors);
    }
  }

 private:
  // s = max|x|^alpha / max|w|^(1 - alpha) (equation 4): x / s and w s then have the ranges
  // (max|x| max|w|)^(1 - alpha) and (max|x| max|w|)^alpha. A channel that is scaled without
  // changing the function gets the same x / s and w s as it got before. Channels that are never
  // used, or that nothing reads, stay as they are.
  static std::vector<float> factors_of(Network& network, const ChannelGroup& group, double alpha,
                                       ThreadPool& pool) {
    const ChannelSpread& spread = network.layer_inputs->spread(group.readers.front());
    std::vector<float> inputs(static_cast<size_t>(group.channels), 0.0F);
    for (size_t c = 0; c < spread.most.size(); ++c) {
      float& largest = inputs[static_cast<size_t>(group.source(static_cast<int64_t>(c)))];
      largest = std::max({largest, spread.most[c], -spread.least[c]});
    }
    const std::vector<float> weights = largest_weights(network, group, pool);
    std::vector<float> factors(inputs.size(), 1.0F);
    for (size_t c = 0; c < factors.size(); ++c) {
      constexpr float kNothing = 1e-20F;
      if (!(inputs[c] > kNothing) || !(weights[c] > kNothing)) continue;
      const double factor = std::pow(static_cast<double>(inputs[c]), alpha) /
                            std::pow(static_cast<double>(weights[c]), 1 - alpha);
      factors[c] = static_cast<float>(factor);
    }
    return factors;
  }

  PartInfo info_{
      .id = "smooth",
      .summary =
          "channels scaled so that activations with outliers hand a part of their range to the "
          "weights behind them",
      .source =
          "Xiao et al. 2022 (SmoothQuant), arXiv:2211.10438, equation 4; differs: channels behind "
          "layers, products and attention are scaled too, not those behind norms alone",
      .options = {{"alpha", 0.5,
                   "how much goes to the weights: 0 nothing of the activations' range, "
                   "1 all of it",
                   0, 1}}};
};

const Registration<Transform, Smooth> registration;

}  // namespace
}  // namespace bitsmith
