#include "transforms/scaled_layers.h"

#include <algorithm>

#include "solvers/solver.h"

namespace bitsmith {

ScaledLayers::ScaledLayers(const Network& network, const ChannelGroup& group, int64_t rows,
                           ThreadPool& pool)
    : group_(group) {
  for (const size_t reader : group.readers) {
    const ValueId weight = network.graph.nodes[reader].inputs[1];
    const Value& value = network.graph.value(weight);
    const auto code = network.codes.find(value.name);
    if (code == network.codes.end()) continue;  // it stays as it is, whatever its scale
    const std::vector<float> all = network.values(weight, pool);
    Sample sample{{std::min(rows, value.shape[0]), value.shape[1]}, {}, code->second};
    for (int64_t r = 0; r < sample.shape.rows; ++r) {
      const auto row = all.begin() + r * value.shape[0] / sample.shape.rows * value.shape[1];
      sample.weights.insert(sample.weights.end(), row, row + value.shape[1]);
    }
    layers_.push_back(std::move(sample));
  }
}

std::vector<double> ScaledLayers::factors_of_columns(const std::vector<float>& factors) const {
  std::vector<double> columns(static_cast<size_t>(layers_.front().shape.cols));
  for (size_t c = 0; c < columns.size(); ++c) {
    const int64_t source = group_.source(static_cast<int64_t>(c));
    columns[c] = static_cast<double>(factors[static_cast<size_t>(source)]);
  }
  return columns;
}

double ScaledLayers::coding_error(const std::vector<double>& moment,
                                  const std::vector<float>& factors, ThreadPool& pool) const {
  const std::vector<double> factor = factors_of_columns(factors);
  const size_t cols = factor.size();
  std::vector<double> scaled(moment);
  for (size_t i = 0; i < cols; ++i) {
    for (size_t j = 0; j < cols; ++j) scaled[i * cols + j] /= factor[i] * factor[j];
  }
  const InputStatistics statistics(static_cast<int64_t>(cols), std::move(scaled));
  const Solver& nearest = Registry<Solver>::instance().get("nearest");
  const Options none(nearest.info().options, nlohmann::json::object(), "nearest");
  double error = 0;
  for (const Sample& layer : layers_) {
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

double ScaledLayers::noise_error(const std::vector<float>& factors) const {
  const std::vector<double> factor = factors_of_columns(factors);
  double error = 0;
  for (const Sample& layer : layers_) {
    for (size_t i = 0; i < layer.weights.size(); ++i) {
      const double w = static_cast<double>(layer.weights[i]) * factor[i % factor.size()];
      error += w * w;
    }
  }
  return error;
}

}  // namespace bitsmith
