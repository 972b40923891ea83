// Operators of graph/operators_normalization.h.
#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/kernels/elementwise.h"
#include "runtime/network/network_operator.h"
#include "runtime/network/strided_loop.h"

namespace bitsmith {
namespace {

// body(begin, end) for parts of [0, rows), on all threads if that is worth it.
template <class Body>
void for_rows(NetworkFrame& frame, int64_t rows, int64_t row_cost, const Body& body) {
  constexpr int64_t kPart = 1 << 15;
  const int64_t part = std::max<int64_t>(1, kPart / std::max<int64_t>(1, row_cost));
  frame.pool->run(ceil_div(rows, part),
                  [&](int64_t i, int) { body(i * part, std::min(rows, (i + 1) * part)); });
}

// Norms of the last axis: x [rows, channels].
class RmsNorm final : public NetworkStep {
 public:
  RmsNorm(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        weight_(p.numbers(node.inputs[1])),
        epsilon_(node.number("epsilon")) {}

  void run(NetworkFrame& frame) const override {
    const auto run = static_cast<int64_t>(weight_.size());
    const int64_t runs = *element_count(x_.extents(frame)) / run;
    for_rows(frame, runs, 2 * run, [&](int64_t begin, int64_t end) {
      rms_norm(x_.data(frame) + begin * run, weight_.data(), end - begin, run, epsilon_,
               y_.data(frame) + begin * run);
    });
  }

 private:
  Operand x_, y_;
  std::vector<float> weight_;
  double epsilon_;
};

// Mean and variance are summed in float64.
class LayerNorm final : public NetworkStep {
 public:
  LayerNorm(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        weight_(p.numbers(node.inputs[1])),
        bias_(p.numbers(node.inputs[2])),
        epsilon_(node.number("epsilon")) {}

  void run(NetworkFrame& frame) const override {
    const int64_t channels = x_.shape.back();
    const int64_t rows = *element_count(x_.extents(frame)) / channels;
    for_rows(frame, rows, 6 * channels, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        normalise(x_.data(frame) + row * channels, channels, y_.data(frame) + row * channels);
      }
    });
  }

 private:
  void normalise(const float* x, int64_t channels, float* y) const {
    const auto count = static_cast<double>(channels);
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c) sum += static_cast<double>(x[c]);
    const double mean = sum / count;
    double squares = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const double difference = static_cast<double>(x[c]) - mean;
      squares += difference * difference;
    }
    const double inverse = 1 / std::sqrt(squares / count + epsilon_);
    for (int64_t c = 0; c < channels; ++c) {
      const auto at = static_cast<size_t>(c);
      const auto normal = static_cast<float>((static_cast<double>(x[c]) - mean) * inverse);
      y[c] = normal * (weight_.empty() ? 1 : weight_[at]) + (bias_.empty() ? 0 : bias_[at]);
    }
  }

  Operand x_, y_;
  std::vector<float> weight_, bias_;
  double epsilon_;
};

// Those that could not be folded into the layer before: x * scale + shift for each channel.
class BatchNorm final : public NetworkStep {
 public:
  BatchNorm(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {
    scale_ = p.numbers(node.inputs[1]);
    shift_ = p.numbers(node.inputs[2]);
    const std::vector<float> mean = p.numbers(node.inputs[3]);
    const std::vector<float> variance = p.numbers(node.inputs[4]);
    for (size_t c = 0; c < scale_.size(); ++c) {
      const double factor =
          scale_[c] / std::sqrt(static_cast<double>(variance[c]) + node.number("epsilon"));
      scale_[c] = static_cast<float>(factor);
      shift_[c] = static_cast<float>(shift_[c] - mean[c] * factor);
    }
  }

  void run(NetworkFrame& frame) const override {
    const Shape extents = y_.extents(frame);
    Shape channel(extents.size(), 0);
    channel[1] = 1;
    const StridedLoop<3> loop(extents, {y_.strides(frame), x_.strides(frame), channel});
    loop.run(*frame.pool, 2, [&](const std::array<int64_t, 3>& at, int64_t count) {
      const float* x = x_.data(frame) + at[1];
      float* y = y_.data(frame) + at[0];
      for (int64_t i = 0; i < count; ++i) {
        const auto c = static_cast<size_t>(at[2] + i * loop.step(2));
        y[i * loop.step(0)] = x[i * loop.step(1)] * scale_[c] + shift_[c];
      }
    });
  }

 private:
  Operand x_, y_;
  std::vector<float> scale_, shift_;
};

// x [outer, extent, inner]
class Softmax final : public NetworkStep {
 public:
  Softmax(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)), y_(p.output(node)), axis_(static_cast<size_t>(node.integer("axis"))) {
    if (x_.shape[axis_] == kBatch) refuse_node(node, "sums over the images of a batch");
  }

  void run(NetworkFrame& frame) const override {
    const Shape extents = x_.extents(frame);
    const int64_t extent = extents[axis_];
    int64_t inner = 1;
    for (size_t i = axis_ + 1; i < extents.size(); ++i) inner *= extents[i];
    const int64_t rows = *element_count(extents) / extent;
    for_rows(frame, rows, 20 * extent, [&](int64_t begin, int64_t end) {
      std::vector<float> line(static_cast<size_t>(extent));
      for (int64_t row = begin; row < end; ++row) {
        const int64_t first = row / inner * extent * inner + row % inner;
        const float* x = x_.data(frame) + first;
        float* y = y_.data(frame) + first;
        if (inner == 1) {
          softmax(x, extent, y);
          continue;
        }
        for (int64_t i = 0; i < extent; ++i) line[static_cast<size_t>(i)] = x[i * inner];
        softmax(line.data(), extent, line.data());
        for (int64_t i = 0; i < extent; ++i) y[i * inner] = line[static_cast<size_t>(i)];
      }
    });
  }

 private:
  Operand x_, y_;
  size_t axis_;
};

enum class Reduction { kMean, kSum, kMax };

// Elements of x are taken in the order in which they lie in memory; sums are kept in float64.
template <Reduction kReduction>
class Reduce final : public NetworkStep {
 public:
  Reduce(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        axes_(node.integers("axes")),
        keep_(node.integer("keep") != 0) {}

  void run(NetworkFrame& frame) const override {
    const Shape extents = x_.extents(frame);
    const int64_t results = *element_count(y_.extents(frame));
    const auto count = static_cast<double>(*element_count(extents) / results);
    constexpr bool kMax = kReduction == Reduction::kMax;
    std::vector<double> sums(static_cast<size_t>(results),
                             kMax ? -std::numeric_limits<double>::infinity() : 0.0);
    // x first: the loop's order is that of its memory.
    const StridedLoop<2> loop(extents, {x_.strides(frame), y_strides(frame)});
    loop.run([&](const std::array<int64_t, 2>& at, int64_t length) {
      const float* x = x_.data(frame) + at[0];
      double* y = sums.data() + at[1];
      for (int64_t i = 0; i < length; ++i) {
        const double value = x[i * loop.step(0)];
        double& sum = y[i * loop.step(1)];
        sum = kMax ? (value > sum || std::isnan(value) ? value : sum) : sum + value;
      }
    });
    const double divisor = kReduction == Reduction::kMean ? count : 1;
    float* y = y_.data(frame);
    for (int64_t i = 0; i < results; ++i) {
      y[i] = static_cast<float>(sums[static_cast<size_t>(i)] / divisor);
    }
  }

 private:
  // Of the result, on the axes of x: 0 on those that are reduced.
  Shape y_strides(const NetworkFrame& frame) const {
    const Shape own = y_.strides(frame);
    Shape strides;
    size_t next = 0;
    for (size_t axis = 0; axis < x_.shape.size(); ++axis) {
      const bool reduced = std::ranges::find(axes_, static_cast<int64_t>(axis)) != axes_.end();
      strides.push_back(reduced ? 0 : own[next]);
      next += !reduced || keep_ ? 1 : 0;
    }
    return strides;
  }

  Operand x_, y_;
  std::vector<int64_t> axes_;
  bool keep_;
};

NetworkOperator op(const char* id, const char* summary, LayoutRule rule,
                   decltype(&make_step<Softmax>) prepare, std::vector<size_t> in_place = {}) {
  return {{id, summary, "", {}}, rule, prepare, std::move(in_place)};
}

const NetworkOperators operators = {
    op("rms_norm", "root-mean-square normalisation", LayoutRule::kPlain, make_step<RmsNorm>, {0}),
    op("layer_norm", "normalisation by mean and variance of the last axis", LayoutRule::kPlain,
       make_step<LayerNorm>, {0}),
    op("batch_norm", "normalisation of each channel by stored statistics", LayoutRule::kFollow,
       make_step<BatchNorm>, {0}),
    op("softmax", "exponentials that sum to 1 along an axis", LayoutRule::kPlain,
       make_step<Softmax>, {0}),
    op("reduce_mean", "mean over some axes", LayoutRule::kFollow,
       make_step<Reduce<Reduction::kMean>>),
    op("reduce_sum", "sum over some axes", LayoutRule::kFollow, make_step<Reduce<Reduction::kSum>>),
    op("reduce_max", "largest element over some axes", LayoutRule::kFollow,
       make_step<Reduce<Reduction::kMax>>),
};

}  // namespace
}  // namespace bitsmith
