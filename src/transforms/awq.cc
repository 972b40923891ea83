// Transform `awq`: channels scaled by a power of their activations' magnitude, the power chosen for
// the smallest error of the layers' outputs.
#include <algorithm>
#include <cmath>

#include "transforms/layer_inputs.h"
#include "transforms/scaled_layers.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

class Awq final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }
  bool needs_statistics(const Options&) const override { return true; }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    for (const ChannelGroup& group : scalable_groups(network, info_.id)) {
      std::vector<float> factors(static_cast<size_t>(group.channels), 1.0F);
      if (network.layer_inputs != nullptr) factors = search(network, group, options, pool);
      scale_channels(network, group, factors);
    }
  }

 private:
  // The magnitude of each of the maker's channels, root mean square; of value heads the mean over
  // the query heads that share them. None is far below the others: a channel that is hardly used
  // would only widen the ranges of codes where it is made.
  static std::vector<double> magnitudes(const ChannelGroup& group,
                                        const std::vector<double>& moment, size_t cols) {
    std::vector<double> power(static_cast<size_t>(group.channels), 0.0);
    double total = 0;
    for (size_t c = 0; c < cols; ++c) {
      power[static_cast<size_t>(group.source(static_cast<int64_t>(c)))] += moment[c * cols + c];
      total += moment[c * cols + c];
    }
    constexpr double kFloor = 1e-8;
    const double least = kFloor * total / static_cast<double>(power.size());
    for (double& p : power) p = total > 0 ? std::sqrt(std::max(p, least)) : 1;
    return power;
  }

  // magnitude^alpha, the geometric mean of its smallest and largest made 1.
  static std::vector<float> factors_of(const std::vector<double>& magnitude, double alpha) {
    const auto [least, most] = std::ranges::minmax(magnitude);
    const double middle = std::sqrt(least * most);
    std::vector<float> factors;
    for (const double m : magnitude) {
      factors.push_back(static_cast<float>(std::pow(m / middle, alpha)));
    }
    return factors;
  }

  static std::vector<float> search(Network& network, const ChannelGroup& group,
                                   const Options& options, ThreadPool& pool) {
    const ScaledLayers layers(network, group, options.integer("rows"), pool);
    if (layers.empty()) return std::vector<float>(static_cast<size_t>(group.channels), 1.0F);
    const size_t first = group.readers.front();
    const Shape& shape = network.graph.value(network.graph.nodes[first].inputs[1]).shape;
    const auto cols = static_cast<size_t>(shape[1]);
    const std::vector<double>& moment = network.layer_inputs->second_moment(first);
    const std::vector<double> magnitude = magnitudes(group, moment, cols);
    const int64_t steps = options.integer("steps");
    std::vector<float> best;
    double least = 0;
    for (int64_t step = 0; step < steps; ++step) {
      const double alpha = static_cast<double>(step) / static_cast<double>(steps);
      std::vector<float> factors = factors_of(magnitude, alpha);
      const double error = layers.coding_error(moment, factors, pool);
      if (step > 0 && error >= least) continue;
      least = error;
      best = std::move(factors);
    }
    return best;
  }

  PartInfo info_{
      .id = "awq",
      .summary =
          "channels scaled by a power of their activations' magnitude, searched for the "
          "least error of the layers behind them",
      .source =
          "Lin et al. 2023 (AWQ), arXiv:2306.00978, section 3.2; differs: root mean square "
          "magnitudes, errors of a sample of rows by the inputs' second moment, value heads "
          "that query heads share are scaled too",
      .options = {{"steps", int64_t{20}, "powers tried, from 0 to below 1", 2, 200},
                  {"rows", int64_t{256}, "of each layer that errors are measured on", 1, 1 << 20}}};
};

const Registration<Transform, Awq> registration;

}  // namespace
}  // namespace bitsmith
