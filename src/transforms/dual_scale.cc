// Transform `dual_scale`: layers that read a product get a scale for each column beside those of
// their groups, which the layer in front of the product absorbs.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "solvers/solver.h"
#include "transforms/layer_inputs.h"
#include "transforms/scaled_layers.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

// W ~ V diag(t), V being what codes of W diag(1/t) decode to. In turn: the nearest codes for given
// scales, and the scales that leave the least squared error for given codes, a regression for each
// column by itself:
//   t_c = Σ_r W_rc V_rc / Σ_r V_rc²
// Starts are 1 and powers of the columns' root mean square; of all scales that occur, those with
// the least error of the layers' outputs are taken.
class Scales {
 public:
  Scales(Network& network, const ChannelGroup& group, const Options& options, ThreadPool& pool)
      : group_(group),
        pool_(pool),
        layers_(network, group, options.integer("rows"), pool),
        channels_(static_cast<size_t>(group.channels)),
        best_(channels_, 1.0F) {
    if (layers_.empty()) return;
    for (const size_t reader : group.readers) {
      const ValueId weight = network.graph.nodes[reader].inputs[1];
      const Value& value = network.graph.value(weight);
      if (const auto code = network.codes.find(value.name); code != network.codes.end()) {
        weights_.push_back({matrix_shape(value.shape), network.values(weight, pool), code->second});
      }
    }
    moment_ = network.layer_inputs->second_moment(group.readers.front());
    least_ = layers_.coding_error(moment_, best_, pool);
    const std::vector<double> start = column_norms();
    for (const double power : {0.0, 0.5, 1.0}) {
      std::vector<double> scales(channels_);
      for (size_t c = 0; c < channels_; ++c) scales[c] = std::pow(start[c], power);
      for (int64_t turn = 0; turn < options.integer("turns"); ++turn) {
        consider(scales);
        fit(scales);
      }
      consider(scales);
    }
  }

  // What columns are multiplied with, 1 / t.
  const std::vector<float>& factors() const { return best_; }

 private:
  struct Layer {
    MatrixShape shape;
    std::vector<float> weights;
    Scheme code;
  };

  // Root mean squares over the rows of all layers, over their geometric mean; 1 where a column is
  // all zeros.
  std::vector<double> column_norms() const {
    std::vector<double> norms(channels_);
    for (const Layer& layer : weights_) {
      for (size_t i = 0; i < layer.weights.size(); ++i) {
        const auto w = static_cast<double>(layer.weights[i]);
        norms[i % channels_] += w * w;
      }
    }
    double logs = 0;
    double used = 0;
    for (double& norm : norms) {
      if (!(norm > 0)) continue;
      norm = std::sqrt(norm);
      logs += std::log(norm);
      used += 1;
    }
    const double middle = used > 0 ? std::exp(logs / used) : 1;
    for (double& norm : norms) norm = norm > 0 ? norm / middle : 1;
    return norms;
  }

  void consider(const std::vector<double>& scales) {
    std::vector<float> factors(channels_);
    for (size_t c = 0; c < channels_; ++c) factors[c] = static_cast<float>(1 / scales[c]);
    const double error = layers_.coding_error(moment_, factors, pool_);
    if (!(error < least_)) return;
    least_ = error;
    best_ = std::move(factors);
  }

  void fit(std::vector<double>& scales) const {
    std::vector<double> products(channels_);
    std::vector<double> squares(channels_);
    const Solver& nearest = Registry<Solver>::instance().get("nearest");
    const Options none(nearest.info().options, nlohmann::json::object(), "nearest");
    for (const Layer& layer : weights_) {
      std::vector<float> scaled(layer.weights);
      for (size_t i = 0; i < scaled.size(); ++i) {
        scaled[i] = static_cast<float>(static_cast<double>(scaled[i]) / scales[i % channels_]);
      }
      const Solution solution =
          nearest.solve({scaled, layer.shape, nullptr, layer.code}, none, pool_);
      for (size_t i = 0; i < scaled.size(); ++i) {
        const auto v = static_cast<double>(solution.values[i]);
        products[i % channels_] += static_cast<double>(layer.weights[i]) * v;
        squares[i % channels_] += v * v;
      }
    }
    // A column that is coded as zeros, or nearly, says nothing of its scale.
    constexpr double kFar = 4;
    for (size_t c = 0; c < channels_; ++c) {
      if (!(squares[c] > 0) || !(products[c] > 0)) continue;
      scales[c] = std::clamp(products[c] / squares[c], scales[c] / kFar, scales[c] * kFar);
    }
  }

  const ChannelGroup& group_;
  ThreadPool& pool_;
  ScaledLayers layers_;
  size_t channels_;
  std::vector<Layer> weights_;
  std::vector<double> moment_;
  std::vector<float> best_;
  double least_ = 0;
};

class DualScale final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }
  bool needs_statistics(const Options&) const override { return true; }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    bool any = false;
    for (const ChannelGroup& group : scalable_groups(network, info_.id)) {
      const Graph& graph = network.graph;
      const ValueId read = graph.nodes[group.readers.front()].inputs[0];
      const bool is_product = graph.nodes[group.maker].op == "linear" && group.head_dim == 0 &&
                              read != graph.nodes[group.maker].outputs[0];
      if (!is_product) continue;
      any = true;
      std::vector<float> factors(static_cast<size_t>(group.channels), 1.0F);
      if (network.layer_inputs != nullptr) {
        factors = Scales(network, group, options, pool).factors();
      }
      scale_channels(network, group, factors);
    }
    if (!any) {
      fail(ErrorCode::kUnsupported,
           "transform 'dual_scale': the network has no product in front of linear layers, one of "
           "whose factors a linear layer makes");
    }
  }

 private:
  PartInfo info_{
      .id = "dual_scale",
      .summary =
          "columns of layers that read a product get scales, which the layer in front absorbs",
      .source =
          "Yan et al. 2026 (D²Quant), arXiv:2602.02546, the dual-scale quantizer, after its "
          "abstract; differs: scales by regression in turn with nearest codes, from three starts, "
          "judged by the inputs' second moment",
      .options = {{"turns", int64_t{8}, "of codes and scales, from each start", 1, 200},
                  {"rows", int64_t{256}, "of each layer that errors are measured on", 1, 1 << 20}}};
};

const Registration<Transform, DualScale> registration;

}  // namespace
}  // namespace bitsmith
