// Transform `awq`: channels scaled by a power of their activations' magnitude, the power chosen for
// the smallest error of the layers' outputs.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "solvers/solver.h"
#include "transforms/channel_groups.h"
#include "transforms/layer_inputs.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

class Awq final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }
  bool needs_statistics() const override { return true; }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    const std::vector<ChannelGroup> groups = find_channel_groups(network);
    if (groups.empty()) {
      fail(ErrorCode::kUnsupported,
           "transform 'awq': the network has no norm, product or attention in front of linear "
           "layers whose channels could be scaled");
    }
    for (const ChannelGroup& group : groups) {
      std::vector<float> factors(static_cast<size_t>(group.channels), 1.0F);
      if (network.layer_inputs != nullptr) factors = search(network, group, options, pool);
      scale_channels(network, group, factors);
    }
  }

 private:
  // Some rows of a layer that reads the group's channels.
  struct Sample {
    MatrixShape shape;
    std::vector<float> weights;
    Scheme code = {};
  };

  static Sample sample(const Network& network, size_t reader, int64_t most, ThreadPool& pool) {
    const ValueId weight = network.graph.nodes[reader].inputs[1];
    const Shape& shape = network.graph.value(weight).shape;
    const std::vector<float> all = network.values(weight, pool);
    Sample result{{std::min(most, shape[0]), shape[1]}, {}};
    for (int64_t r = 0; r < result.shape.rows; ++r) {
      const auto row = all.begin() + r * shape[0] / result.shape.rows * shape[1];
      result.weights.insert(result.weights.end(), row, row + shape[1]);
    }
    return result;
  }

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
    std::vector<Sample> layers;
    for (const size_t reader : group.readers) {
      const ValueId weight = network.graph.nodes[reader].inputs[1];
      const auto code = network.codes.find(network.graph.value(weight).name);
      if (code == network.codes.end()) continue;  // it stays as it is, whatever its scale
      layers.push_back(sample(network, reader, options.integer("rows"), pool));
      layers.back().code = code->second;
    }
    if (layers.empty()) return std::vector<float>(static_cast<size_t>(group.channels), 1.0F);
    const auto cols = static_cast<size_t>(layers.front().shape.cols);
    const std::vector<double>& moment = network.layer_inputs->second_moment(group.readers.front());
    const std::vector<double> magnitude = magnitudes(group, moment, cols);
    const int64_t steps = options.integer("steps");
    std::vector<float> best;
    double least = 0;
    for (int64_t step = 0; step < steps; ++step) {
      const double alpha = static_cast<double>(step) / static_cast<double>(steps);
      std::vector<float> factors = factors_of(magnitude, alpha);
      const double error = error_of(group, layers, moment, factors, pool);
      if (step > 0 && error >= least) continue;
      least = error;
      best = std::move(factors);
    }
    return best;
  }

  // The squared error of the layers' outputs when their weights times the factors are rounded to
  // the nearest codes and their inputs are divided by them.
  static double error_of(const ChannelGroup& group, const std::vector<Sample>& layers,
                         const std::vector<double>& moment, const std::vector<float>& factors,
                         ThreadPool& pool) {
    const auto cols = static_cast<size_t>(layers.front().shape.cols);
    std::vector<double> factor(cols);
    for (size_t c = 0; c < cols; ++c) {
      factor[c] =
          static_cast<double>(factors[static_cast<size_t>(group.source(static_cast<int64_t>(c)))]);
    }
    std::vector<double> scaled(moment);
    for (size_t i = 0; i < cols; ++i) {
      for (size_t j = 0; j < cols; ++j) scaled[i * cols + j] /= factor[i] * factor[j];
    }
    const InputStatistics statistics(static_cast<int64_t>(cols), std::move(scaled));
    const Solver& nearest = Registry<Solver>::instance().get("nearest");
    const Options none(nearest.info().options, nlohmann::json::object(), "nearest");
    double error = 0;
    for (const Sample& layer : layers) {
      std::vector<float> weights(layer.weights);
      for (size_t i = 0; i < weights.size(); ++i) {
        weights[i] = static_cast<float>(static_cast<double>(weights[i]) * factor[i % cols]);
      }
      const Solution solution =
          nearest.solve({weights, layer.shape, &statistics, layer.code}, none, pool);
      for (const double e : solution.row_error) error += e;
    }
    return error;
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
