// Transform `equalize`: channels between two layers are scaled so that both layers' weights have
// the same range there (cross-layer equalization).
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "transforms/network.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

// Layer `first` makes channels that only layer `second` reads; between them stands nothing but what
// scales its result with its input.
struct Pair {
  size_t first = 0;  // indices of nodes
  size_t second = 0;
  int64_t channels = 0;
  int64_t repeat = 1;  // columns of `second` for each channel: pixels of a flattened image
};

class PairFinder {
 public:
  explicit PairFinder(const Network& network) : network_(network), uses_(network.uses()) {}

  std::vector<Pair> run() const {
    std::vector<Pair> pairs;
    for (size_t n = 0; n < network_.graph.nodes.size(); ++n) {
      if (!is_own_layer(n)) continue;
      if (const auto pair = follow(n)) pairs.push_back(*pair);
    }
    return pairs;
  }

 private:
  const Shape& shape(ValueId id) const { return network_.graph.value(id).shape; }
  const std::vector<Use>& uses(ValueId id) const { return uses_[static_cast<size_t>(id)]; }

  bool is_own_parameter(ValueId id) const {
    return id == kNoValue ||
           (network_.graph.value(id).kind == ValueKind::kParameter && uses(id).size() == 1);
  }
  // A layer whose weight and bias nobody else reads.
  bool is_own_layer(size_t n) const {
    const Node& node = network_.graph.nodes[n];
    return (node.op == "conv" || node.op == "linear") && is_own_parameter(node.inputs[1]) &&
           is_own_parameter(node.inputs[2]);
  }

  // From a layer to the next.
  std::optional<Pair> follow(size_t n) const {
    const Graph& graph = network_.graph;
    const bool channels_last = graph.nodes[n].op == "linear";
    Pair pair{n, n, shape(graph.nodes[n].inputs[1])[0]};
    ValueId value = graph.nodes[n].outputs[0];
    while (uses(value).size() == 1 && !network_.is_output(value)) {
      const Use use = uses(value)[0];
      const Node& node = graph.nodes[use.node];
      const bool is_flat = channels_last || shape(value).size() == 2;
      pair.second = use.node;
      if (node.op == "conv" || node.op == "linear") {
        const bool fits = node.op == "linear" ? is_flat : !channels_last;
        if (use.input == 0 && fits && is_own_layer(use.node)) return pair;
        return std::nullopt;
      }
      if (node.op == "reshape" && !channels_last && pair.repeat == 1) {
        const Shape& from = shape(value);
        pair.repeat = pixels(from);
        if (shape(node.outputs[0]) != Shape{from[0], pair.channels * pair.repeat}) break;
      } else if (!scales_with(node, use.input, channels_last)) {
        break;
      }
      value = node.outputs[0];
    }
    return std::nullopt;
  }

  static int64_t pixels(const Shape& shape) {
    return std::accumulate(shape.begin() + 2, shape.end(), int64_t{1}, std::multiplies<>());
  }

  // Whether each channel of the result is scaled when the channel of that input is.
  bool scales_with(const Node& node, size_t input, bool channels_last) const {
    if (node.op == "relu" || node.op == "leaky_relu") return true;
    if (node.op == "multiply") {
      const ValueId other = node.inputs[1 - input];
      return network_.graph.value(other).kind == ValueKind::kActivation &&
             shape(node.outputs[0]) == shape(node.inputs[input]);
    }
    if (channels_last) return false;
    if (node.op == "max_pool" || node.op == "average_pool") return true;
    const auto keeps_channels = [&](const char* attribute) {
      const std::vector<int64_t>& axes = node.integers(attribute);
      return std::ranges::all_of(axes, [](int64_t axis) { return axis >= 2; });
    };
    if (node.op == "slice") return keeps_channels("axes");
    if (node.op == "reduce_mean" || node.op == "reduce_max") return keeps_channels("axes");
    if (node.op == "pad") {
      const std::vector<int64_t>& pads = node.integers("pads");
      const bool zero = node.text("mode") != "constant" || node.number("value") == 0;
      return zero && pads[1] == 0 && pads[pads.size() / 2 + 1] == 0;
    }
    return false;
  }

  const Network& network_;
  std::vector<std::vector<Use>> uses_;
};

// The magnitudes of a layer's weights, and the factors that rows and input channels have got.
class Layer {
 public:
  // `repeat` as in Pair, if the layer is the second of one.
  Layer(const Network& network, const Node& node, int64_t repeat, ThreadPool& pool)
      : weight_(node.inputs[1]), bias_(node.inputs[2]) {
    const Shape& shape = network.graph.value(weight_).shape;
    rows_ = shape[0];
    groups_ = node.op == "conv" ? node.integer("groups") : 1;
    inputs_ = shape[1] / repeat;
    const std::vector<float> weights = network.values(weight_, pool);
    taps_ = static_cast<int64_t>(weights.size()) / (rows_ * inputs_);
    row_factors_.assign(static_cast<size_t>(rows_), 1.0);
    input_factors_.assign(static_cast<size_t>(inputs_ * groups_), 1.0);
    largest_.assign(static_cast<size_t>(rows_ * inputs_), 0.0F);
    for (size_t i = 0; i < weights.size(); ++i) {
      float& largest = largest_[i / static_cast<size_t>(taps_)];
      largest = std::max(largest, std::abs(weights[i]));
    }
  }

  // The largest weight of each row.
  std::vector<double> row_ranges() const { return ranges(true); }
  // Of each input channel.
  std::vector<double> input_ranges() const { return ranges(false); }

  void scale_row(size_t row, double factor) { row_factors_[row] *= factor; }
  void scale_input(size_t channel, double factor) { input_factors_[channel] *= factor; }

  // Adds the edits of weight and bias.
  void apply(Network& network) const {
    const auto rows = std::make_shared<const std::vector<double>>(row_factors_);
    const auto inputs = std::make_shared<const std::vector<double>>(input_factors_);
    const Layer shape = outline();
    network.edit(weight_, [shape, rows, inputs](std::span<float> weights, const MatrixShape&,
                                                ThreadPool& pool) {
      const int64_t cols = shape.inputs_ * shape.taps_;
      pool.run(shape.rows_, [&](int64_t row, int) {
        for (int64_t col = 0; col < cols; ++col) {
          float& w = weights[static_cast<size_t>(row * cols + col)];
          const double factor =
              (*rows)[static_cast<size_t>(row)] * (*inputs)[shape.channel(row, col / shape.taps_)];
          w = static_cast<float>(w * factor);
        }
      });
    });
    if (bias_ == kNoValue) return;
    network.edit(bias_, [rows](std::span<float> bias, const MatrixShape&, ThreadPool&) {
      for (size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(bias[i] * (*rows)[i]);
    });
  }

 private:
  Layer() = default;

  // The extents alone.
  Layer outline() const {
    Layer layer;
    layer.rows_ = rows_;
    layer.groups_ = groups_;
    layer.inputs_ = inputs_;
    layer.taps_ = taps_;
    return layer;
  }

  // The channel that input i of a row is, of those of its group.
  size_t channel(int64_t row, int64_t i) const {
    return static_cast<size_t>(row / (rows_ / groups_) * inputs_ + i);
  }

  std::vector<double> ranges(bool of_rows) const {
    std::vector<double> result((of_rows ? row_factors_ : input_factors_).size(), 0.0);
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t i = 0; i < inputs_; ++i) {
        const double magnitude =
            static_cast<double>(largest_[static_cast<size_t>(row * inputs_ + i)]) *
            row_factors_[static_cast<size_t>(row)] * input_factors_[channel(row, i)];
        double& range = result[of_rows ? static_cast<size_t>(row) : channel(row, i)];
        range = std::max(range, magnitude);
      }
    }
    return result;
  }

  ValueId weight_ = kNoValue;
  ValueId bias_ = kNoValue;
  int64_t rows_ = 0;
  int64_t groups_ = 1;
  int64_t inputs_ = 0;  // channels that a row reads
  int64_t taps_ = 0;    // weights of each
  std::vector<double> row_factors_;
  std::vector<double> input_factors_;
  std::vector<float> largest_;  // [rows, inputs]
};

class Equalize final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    const std::vector<Pair> pairs = PairFinder(network).run();
    if (pairs.empty()) {
      fail(ErrorCode::kUnsupported,
           "equalize: no two layers of the network follow each other with nothing between them "
           "that scales");
    }
    // Pairs that share a layer are solved together, others one after the other: only their weights
    // are in memory.
    std::vector<bool> done(pairs.size(), false);
    for (size_t i = 0; i < pairs.size(); ++i) {
      if (done[i]) continue;
      std::vector<Pair> chain = {pairs[i]};
      done[i] = true;
      for (size_t k = 0; k < chain.size(); ++k) {
        for (size_t j = 0; j < pairs.size(); ++j) {
          if (done[j] || !touch(chain[k], pairs[j])) continue;
          chain.push_back(pairs[j]);
          done[j] = true;
        }
      }
      equalize(network, chain, options, pool);
    }
  }

 private:
  static bool touch(const Pair& a, const Pair& b) {
    return a.first == b.second || a.second == b.first || a.second == b.second;
  }

  // Turn by turn, until no factor changes by more than one part in a thousand.
  static void equalize(Network& network, const std::vector<Pair>& pairs, const Options& options,
                       ThreadPool& pool) {
    const double most = options.number("limit");
    std::map<size_t, Layer> layers;
    for (const Pair& pair : pairs) {
      layers.try_emplace(pair.second, network, network.graph.nodes[pair.second], pair.repeat, pool);
    }
    for (const Pair& pair : pairs) {
      layers.try_emplace(pair.first, network, network.graph.nodes[pair.first], 1, pool);
    }
    std::vector<std::vector<double>> scales;  // of each pair, so far
    for (const Pair& pair : pairs) scales.emplace_back(static_cast<size_t>(pair.channels), 1.0);
    for (int64_t turn = 0; turn < options.integer("turns"); ++turn) {
      double change = 0;
      for (size_t p = 0; p < pairs.size(); ++p) {
        Layer& first = layers.at(pairs[p].first);
        Layer& second = layers.at(pairs[p].second);
        const std::vector<double> made = first.row_ranges();
        const std::vector<double> read = second.input_ranges();
        for (size_t c = 0; c < made.size(); ++c) {
          if (!(made[c] > 0 && read[c] > 0)) continue;
          double& scale = scales[p][c];
          const double wanted = std::clamp(scale * std::sqrt(made[c] / read[c]), 1 / most, most);
          const double factor = wanted / scale;
          first.scale_row(c, 1 / factor);
          second.scale_input(c, factor);
          change = std::max(change, std::abs(std::log(factor)));
          scale = wanted;
        }
      }
      if (change < 1e-3) break;
    }
    for (const auto& [node, layer] : layers) layer.apply(network);
  }

  PartInfo info_{
      .id = "equalize",
      .summary = "channels scaled so that the weights that make and read them have the same range",
      .source =
          "Nagel et al. 2019, arXiv:1906.04721, section 4.1; differs: scales are limited, "
          "ReLU6 is not crossed, products are",
      .options = {{"limit", 16.0, "largest scale of a channel", 1, 1e6},
                  {"turns", int64_t{40}, "over all pairs of layers, at most", 1, 1000}}};
};

const Registration<Transform, Equalize> registration;

}  // namespace
}  // namespace bitsmith
