// Ranges of activations without images, from the statistics of batch norms.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "calibration/quantize_activations.h"
#include "core/error.h"

namespace bitsmith {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What is known of an activation: for each channel its mean and variance, for all their bounds.
struct Moments {
  std::vector<double> mean;
  std::vector<double> variance;
  double low = -kInfinity;
  double high = kInfinity;
};

double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0)); }
double below(double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }

// Of min(max(x, low), high) for normal x: what lies beyond an end counts as the end.
void cut(double low, double high, double& mean, double& variance) {
  const double deviation = std::sqrt(variance);
  if (deviation == 0) {
    mean = std::clamp(mean, low, high);
    return;
  }
  const double a = (low - mean) / deviation;
  const double b = (high - mean) / deviation;
  const double inside = below(b) - below(a);
  const double beyond_low = std::isinf(low) ? 0 : below(a);
  const double beyond_high = std::isinf(high) ? 0 : 1 - below(b);
  const double density_a = std::isinf(a) ? 0 : density(a);
  const double density_b = std::isinf(b) ? 0 : density(b);
  double first = mean * inside + deviation * (density_a - density_b);
  double second = (mean * mean + variance) * inside +
                  deviation * (density_a * (std::isinf(low) ? 0 : mean + low) -
                               density_b * (std::isinf(high) ? 0 : mean + high));
  if (beyond_low > 0) first += beyond_low * low, second += beyond_low * low * low;
  if (beyond_high > 0) first += beyond_high * high, second += beyond_high * high * high;
  mean = first;
  variance = std::max(0.0, second - first * first);
}

class Propagation {
 public:
  explicit Propagation(const Model& model) : model_(model), graph_(model.graph) {
    for (const ValueId id : graph_.inputs) {
      const Shape& shape = graph_.value(id).shape;
      const auto channels = static_cast<size_t>(shape.size() < 2 ? 1 : shape[1]);
      known_[id] = {std::vector<double>(channels, 0), std::vector<double>(channels, 1)};
    }
    for (const Node& node : graph_.nodes) step(node);
  }

  const Moments* find(ValueId id) const {
    const auto it = known_.find(id);
    return it == known_.end() ? nullptr : &it->second;
  }

 private:
  void step(const Node& node) {
    const ValueId out = node.outputs[0];
    if (node.op == "batch_norm") {
      Moments y;
      for (const float shift : numbers(node.inputs[2])) y.mean.push_back(shift);
      for (const float scale : numbers(node.inputs[1])) {
        y.variance.push_back(static_cast<double>(scale) * static_cast<double>(scale));
      }
      known_[out] = std::move(y);
      return;
    }
    const Moments* x = node.inputs.empty() ? nullptr : find(node.inputs[0]);
    if (x == nullptr) return;
    if (node.op == "relu" || node.op == "clip") {
      const bool is_relu = node.op == "relu";
      known_[out] =
          limited(*x, is_relu ? 0 : node.number("low"), is_relu ? kInfinity : node.number("high"));
    } else if (node.op == "add") {
      const Moments* other = find(node.inputs[1]);
      if (other != nullptr && other->mean.size() == x->mean.size()) known_[out] = sum(*x, *other);
    } else if (node.op == "concat") {
      join(node);
    } else if (node.op == "pad") {
      known_[out] = padded(*x, node);
    } else if (node.op == "max_pool" || node.op == "average_pool" || node.op == "reduce_mean" ||
               node.op == "slice" || node.op == "reshape" || node.op == "transpose") {
      known_[out] = Moments(*x);
    }
  }

  std::vector<float> numbers(ValueId id) const {
    return model_.parameter(graph_.value(id).name).decode_all();
  }

  static Moments limited(Moments x, double low, double high) {
    for (size_t c = 0; c < x.mean.size(); ++c) cut(low, high, x.mean[c], x.variance[c]);
    x.low = std::clamp(x.low, low, high);
    x.high = std::clamp(x.high, low, high);
    return x;
  }

  static Moments sum(Moments x, const Moments& other) {
    for (size_t c = 0; c < x.mean.size(); ++c) {
      x.mean[c] += other.mean[c];
      x.variance[c] += other.variance[c];
    }
    x.low += other.low;
    x.high += other.high;
    return x;
  }

  // New channels are 0.
  Moments padded(Moments x, const Node& node) const {
    const std::vector<int64_t>& pads = node.integers("pads");
    const size_t rank = pads.size() / 2;
    if (rank < 2) return x;
    for (std::vector<double>* numbers : {&x.mean, &x.variance}) {
      numbers->insert(numbers->begin(), static_cast<size_t>(pads[1]), 0.0);
      numbers->insert(numbers->end(), static_cast<size_t>(pads[rank + 1]), 0.0);
    }
    return x;
  }

  void join(const Node& node) {
    Moments y;
    y.low = kInfinity;
    y.high = -kInfinity;
    for (const ValueId id : node.inputs) {
      const Moments* x = find(id);
      if (x == nullptr) return;
      y.mean.insert(y.mean.end(), x->mean.begin(), x->mean.end());
      y.variance.insert(y.variance.end(), x->variance.begin(), x->variance.end());
      y.low = std::min(y.low, x->low);
      y.high = std::max(y.high, x->high);
    }
    known_[node.outputs[0]] = std::move(y);
  }

  const Model& model_;
  const Graph& graph_;
  std::map<ValueId, Moments> known_;
};

}  // namespace

std::vector<ValueRange> batch_norm_ranges(const Model& model,
                                          std::span<const QuantizationSite> sites, double sigmas) {
  const Propagation propagation(model);
  std::vector<ValueRange> ranges;
  for (const QuantizationSite& site : sites) {
    const Moments* moments = propagation.find(site.observed);
    if (moments == nullptr) {
      fail(ErrorCode::kUnsupported,
           "activations: no batch norm says how the value '{}' is distributed; give images to "
           "calibrate with",
           model.graph.value(site.observed).name);
    }
    ValueRange range;
    for (size_t c = 0; c < moments->mean.size(); ++c) {
      const double reach = sigmas * std::sqrt(moments->variance[c]);
      range.low = std::min(range.low, std::max(moments->mean[c] - reach, moments->low));
      range.high = std::max(range.high, std::min(moments->mean[c] + reach, moments->high));
    }
    ranges.push_back(range);
  }
  return ranges;
}

}  // namespace bitsmith
