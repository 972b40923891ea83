// Float convolutions: register tiles of multiply-add, and lanes of channels for depthwise ones.
#include "runtime/kernels/conv_float.h"

#include "core/error.h"
#include "runtime/kernels/depthwise.h"
#include "runtime/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/conv_float.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/conv_tile-inl.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

HWY_INLINE void store_floats(Floats v, float* HWY_RESTRICT to, int64_t count) {
  if (HWY_LIKELY(count >= static_cast<int64_t>(kPartRows))) {
    hn::StoreU(v, FloatsTag(), to);
  } else {
    HWY_ALIGN float all[kPartRows];
    hn::Store(v, FloatsTag(), all);
    std::memcpy(to, all, static_cast<size_t>(count) * sizeof(float));
  }
}

// NaN stays NaN.
HWY_INLINE Floats clamped(Floats v, Floats low, Floats high) {
  const Floats above = hn::IfThenElse(hn::Lt(v, low), low, v);
  return hn::IfThenElse(hn::Gt(above, high), high, above);
}

// Values between min and max.
struct FloatArithmetic {
  using Sums = Floats;
  using Weights = Floats;
  static constexpr int64_t kElementBytes = 4;
  static constexpr size_t kTilePixels = kParts == 1 ? 12 : kParts == 2 ? 6 : 4;
  static_assert(kTilePixels <= kSpareOffsets);

  static HWY_INLINE Floats load(const uint8_t* p) {
    return hn::Load(FloatsTag(), reinterpret_cast<const float*>(p));
  }
  static HWY_INLINE Floats broadcast(const uint8_t* p) {
    float value;
    std::memcpy(&value, p, sizeof(value));
    return hn::Set(FloatsTag(), value);
  }
  static HWY_INLINE Floats multiply_add(Floats sums, Floats x, Floats w) {
    return hn::MulAdd(x, w, sums);
  }
  HWY_INLINE Floats start(int64_t slot) const { return hn::Load(FloatsTag(), bias + slot); }

  struct Finish {
    Floats min;
    Floats max;
    float* y;
    HWY_INLINE void operator()(Floats sums, int64_t index, int64_t count) const {
      store_floats(clamped(sums, min, max), y + index, count);
    }
  };
  HWY_INLINE Finish finish(int64_t /*slot*/) const {
    return {hn::Set(FloatsTag(), min), hn::Set(FloatsTag(), max), y};
  }

  const float* bias;
  float min;
  float max;
  float* y;
};

void convolve(const ConvPlan& plan, std::span<const ConvTask> tasks, const float* weights,
              const float* bias, float min, float max, float* y) {
  const FloatArithmetic arithmetic{bias, min, max, y};
  convolve_tasks(plan, arithmetic, reinterpret_cast<const uint8_t*>(weights), tasks);
}

void convolve_depthwise(const ConvPlan& plan, const ConvTask& task, const float* weights,
                        const float* bias, float min, float max, float* y) {
  constexpr auto kLanes = static_cast<int64_t>(kPartRows);
  const FloatsTag df;
  const int64_t channels = plan.shape().channels;
  const int64_t stride = ceil_div(channels, kDepthwiseBlock) * kDepthwiseBlock;
  const int64_t end = std::min(channels, task.panel_end * kDepthwiseBlock);
  const Floats low = hn::Set(df, min);
  const Floats high = hn::Set(df, max);
  const ConvWindow& window = task.window;
  const auto first_tap = window.weights / 64;  // a step is a tap
  for (int64_t pixel = 0; pixel < task.pixels; ++pixel) {
    const auto* x = reinterpret_cast<const float*>(task.x + task.offsets[pixel]);
    float* out = y + task.outputs[pixel] * channels;
    for (int64_t c = task.panel_begin * kDepthwiseBlock; c < end; c += kLanes) {
      Floats sum = hn::Load(df, bias + c);
      for (int64_t row = 0; row < window.rows; ++row) {
        const float* in = x + row * window.x_row / 4 + c;
        const float* w = weights + (first_tap + row * window.w_row / 64) * stride + c;
        for (int64_t run = 0; run < window.runs; ++run) {
          sum = hn::MulAdd(hn::LoadU(df, in), hn::Load(df, w), sum);
          in += window.x_run / 4;
          w += stride;
        }
      }
      store_floats(clamped(sum, low, high), out + c, end - c);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(convolve);
HWY_EXPORT(convolve_depthwise);

void convolve_depthwise_float(const ConvPlan& plan, const ConvTask& task, const float* weights,
                              const float* bias, float min, float max, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(convolve_depthwise)(plan, task, weights, bias, min, max, y);
}

FloatConv::FloatConv(const FloatConvSpec& spec)
    : depthwise_(spec.shape.is_depthwise()),
      y_min_(spec.y_min),
      y_max_(spec.y_max),
      plan_(spec.shape, sizeof(float), ConvBorders::kSkipped) {
  const ConvShape& shape = spec.shape;
  BITSMITH_ASSERT(spec.weights.size() == static_cast<size_t>(shape.weights()));
  BITSMITH_ASSERT(spec.bias.empty() || spec.bias.size() == static_cast<size_t>(shape.outputs));
  const int64_t taps = shape.kernel_h * shape.kernel_w;
  const int64_t blocks = ceil_div(shape.outputs, kDepthwiseBlock);
  const int64_t slots = depthwise_ ? blocks * kDepthwiseBlock : plan_.panels() * ConvPlan::kPanel;
  bias_ = AlignedArray<float>(slots);
  if (depthwise_) {
    weights_ = AlignedArray<float>(taps * slots);
    for (int64_t c = 0; c < shape.channels; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        weights_[tap * slots + c] = spec.weights[static_cast<size_t>(c * taps + tap)];
      }
    }
  } else {
    weights_ = plan_.pack(spec.weights);
  }
  for (int64_t o = 0; !spec.bias.empty() && o < shape.outputs; ++o) {
    bias_[depthwise_ ? o : plan_.slot(o)] = spec.bias[static_cast<size_t>(o)];
  }
}

void FloatConv::run(const float* x, int64_t images, float* y, ThreadPool& pool) const {
  const int64_t panels =
      depthwise_ ? ceil_div(plan_.shape().channels, kDepthwiseBlock) : plan_.panels();
  plan_.run(x, images, panels, nullptr, pool, [&](std::span<const ConvTask> tasks) {
    if (!depthwise_) {
      HWY_DYNAMIC_DISPATCH(convolve)
      (plan_, tasks, weights_.data(), bias_.data(), y_min_, y_max_, y);
      return;
    }
    for (const ConvTask& task : tasks) {
      convolve_depthwise_float(plan_, task, weights_.data(), bias_.data(), y_min_, y_max_, y);
    }
  });
}

}  // namespace bitsmith
#endif
