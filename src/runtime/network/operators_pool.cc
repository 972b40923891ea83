// max_pool, average_pool and resize of graph/operators_convolution.h.
#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/network/pools.h"

namespace bitsmith {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// Signals and images by the kernel, image by image.
template <bool kMax>
class Pool final : public NetworkStep {
 public:
  Pool(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)), y_(p.output(node)), shape_(pool_shape(node, x_.shape)) {}

  void run(NetworkFrame& frame) const override {
    pool_images(frame, shape_, x_.extents(frame)[0], x_.data(frame), y_.data(frame),
                [&](const float* x, float* y) {
                  if constexpr (kMax) {
                    max_pool(shape_, x, 1, y);
                  } else {
                    average_pool(shape_, x, 1, y);
                  }
                });
  }

 private:
  Operand x_, y_;
  PoolShape shape_;
};

// Any number of spatial axes, cell by cell.
template <bool kMax>
class PlainPool final : public NetworkStep {
 public:
  PlainPool(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        axes_(window_axes(node, x_.shape, node.integers("kernel"))) {}

  void run(NetworkFrame& frame) const override {
    const Shape extents = x_.extents(frame);
    const Shape x_strides = x_.strides(frame);
    const Shape y_strides = y_.strides(frame);
    const int64_t pixels = window_pixels(axes_);
    const int64_t channels = extents[1];
    frame.pool->run(extents[0] * pixels, [&](int64_t i, int) {
      const float* x = x_.data(frame) + i / pixels * x_strides[0];
      float* y = y_.data(frame) + i / pixels * y_strides[0] +
                 pixel_offset(axes_, i % pixels, std::span(y_strides).subspan(2));
      std::vector<float> result(static_cast<size_t>(channels), kMax ? kLowest : 0.0f);
      int64_t count = 0;
      for_cells(axes_, i % pixels, std::span(x_strides).subspan(2), [&](int64_t, int64_t offset) {
        ++count;
        for (int64_t c = 0; c < channels; ++c) {
          const float value = x[offset + c * x_strides[1]];
          float& r = result[static_cast<size_t>(c)];
          r = kMax ? std::max(r, value) : r + value;
        }
      });
      const float divisor = kMax ? 1.0f : static_cast<float>(count);
      for (int64_t c = 0; c < channels; ++c) {
        y[c * y_strides[1]] = result[static_cast<size_t>(c)] / divisor;
      }
    });
  }

 private:
  Operand x_, y_;
  WindowAxes axes_;
};

template <bool kMax>
std::unique_ptr<NetworkStep> make_pool(NetworkPreparation& p, const Node& node) {
  if (node.integers("kernel").size() > 2) return make_step<PlainPool<kMax>>(p, node);
  return make_step<Pool<kMax>>(p, node);
}

// What an output position of one axis reads: (1 - f) x[low] + f x[high].
struct Source {
  int64_t low = 0;
  int64_t high = 0;
  float f = 0;
};

// u(y) of ops::resize().
double source_position(const std::string& coordinates, double y, int64_t in, int64_t out,
                       double scale) {
  if (coordinates == "asymmetric") return y / scale;
  if (coordinates == "align_corners") {
    return out == 1 ? 0 : y * static_cast<double>(in - 1) / static_cast<double>(out - 1);
  }
  if (coordinates == "pytorch_half_pixel" && out == 1) return 0;
  return (y + 0.5) / scale - 0.5;
}

double rounded(const std::string& rounding, double u) {
  if (rounding == "floor") return std::floor(u);
  if (rounding == "ceil") return std::ceil(u);
  return rounding == "round_prefer_floor" ? std::ceil(u - 0.5) : std::floor(u + 0.5);
}

class Resize final : public NetworkStep {
 public:
  Resize(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {
    const bool nearest = node.text("mode") == "nearest";
    for (size_t i = 0; i + 2 < x_.shape.size(); ++i) {
      const int64_t in = x_.shape[i + 2];
      const int64_t out = y_.shape[i + 2];
      const auto inside = [&](double position) {
        return static_cast<int64_t>(std::clamp(position, 0.0, static_cast<double>(in - 1)));
      };
      sources_.emplace_back();
      for (int64_t y = 0; y < out; ++y) {
        const double u = source_position(node.text("coordinates"), static_cast<double>(y), in, out,
                                         node.numbers("scales")[i]);
        const double below = nearest ? rounded(node.text("rounding"), u) : std::floor(u);
        const float f = nearest ? 0.0f : static_cast<float>(u - below);
        sources_.back().push_back({inside(below), inside(below + 1), f});
      }
    }
  }

  void run(NetworkFrame& frame) const override {
    const Shape extents = y_.extents(frame);
    const Shape x_strides = x_.strides(frame);
    const Shape y_strides = y_.strides(frame);
    const size_t axes = sources_.size();
    int64_t pixels = 1;
    for (size_t a = 0; a < axes; ++a) pixels *= extents[a + 2];
    const int64_t rows = pixels / extents.back();
    frame.pool->run(extents[0] * rows, [&](int64_t i, int) {
      for (int64_t col = 0; col < extents.back(); ++col) {
        // The 2^axes corners around the position, each with its weight.
        std::vector<std::pair<int64_t, float>> corners = {{i / rows * x_strides[0], 1.0f}};
        int64_t to = i / rows * y_strides[0];
        int64_t pixel = i % rows * extents.back() + col;
        for (size_t a = axes; a-- > 0;) {
          const int64_t position = pixel % extents[a + 2];
          pixel /= extents[a + 2];
          to += position * y_strides[a + 2];
          split(sources_[a][static_cast<size_t>(position)], x_strides[a + 2], corners);
        }
        for (int64_t c = 0; c < extents[1]; ++c) {
          float sum = 0;
          for (const auto& [offset, weight] : corners) {
            sum += weight * x_.data(frame)[offset + c * x_strides[1]];
          }
          y_.data(frame)[to + c * y_strides[1]] = sum;
        }
      }
    });
  }

 private:
  static void split(const Source& source, int64_t stride,
                    std::vector<std::pair<int64_t, float>>& corners) {
    const size_t count = corners.size();
    for (size_t k = 0; k < count; ++k) {
      const auto [offset, weight] = corners[k];
      corners[k] = {offset + source.low * stride, weight * (1 - source.f)};
      if (source.f != 0) corners.emplace_back(offset + source.high * stride, weight * source.f);
    }
  }

  Operand x_, y_;
  std::vector<std::vector<Source>> sources_;  // [spatial axes][output extent]
};

const NetworkOperators operators = {
    {{"max_pool", "largest element of a sliding window", "", {}},
     LayoutRule::kChannelsLast,
     make_pool<true>},
    {{"average_pool", "mean of a sliding window, without padding", "", {}},
     LayoutRule::kChannelsLast,
     make_pool<false>},
    {{"resize", "interpolation to other spatial extents", "", {}},
     LayoutRule::kFollow,
     make_step<Resize>},
};

}  // namespace
}  // namespace bitsmith
