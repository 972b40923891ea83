// Integer convolutions: packing, and register tiles of byte dot products.
#include "runtime/kernels/conv_int8.h"

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "runtime/kernels/depthwise.h"
#include "runtime/kernels/int_panels.h"
#include "runtime/kernels/targets.h"

#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/conv_int8.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/conv_tile-inl.h"
#include "runtime/kernels/requantize-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR  // vectors of one lane cannot hold a quad of bytes

// finish(slot, sum, index of the output element) for all outputs of a task.
template <class Finish>
void for_sums_of(const ConvPlan& plan, const ConvTask& task, const int8_t* weights,
                 const int32_t* bias, const Finish& finish) {
  const ConvShape& shape = plan.shape();
  const ConvWindow& window = task.window;
  for (int64_t panel = task.panel_begin; panel < task.panel_end; ++panel) {
    const int64_t group = panel / plan.group_panels();
    const int64_t in_group = panel % plan.group_panels() * ConvPlan::kPanel;
    const int64_t count = std::min(ConvPlan::kPanel, shape.group_outputs() - in_group);
    for (int64_t pixel = 0; pixel < task.pixels; ++pixel) {
      const uint8_t* x = task.x + task.offsets[pixel] + group * shape.group_channels();
      for (int64_t o = 0; o < count; ++o) {
        const int64_t slot = panel * ConvPlan::kPanel + o;
        const int8_t* first = weights + panel * plan.panel_bytes() + window.weights + o * 4;
        int32_t sum = bias[slot];
        for (int64_t row = 0; row < window.rows; ++row) {
          for (int64_t run = 0; run < window.runs; ++run) {
            const uint8_t* in = x + row * window.x_row + run * window.x_run;
            const int8_t* w = first + row * window.w_row + run * window.w_run;
            for (int64_t i = 0; i < window.run_bytes; ++i) sum += in[i] * w[i / 4 * 64 + i % 4];
          }
        }
        const int64_t output = group * shape.group_outputs() + in_group + o;
        finish(slot, sum, task.outputs[pixel] * shape.outputs + output);
      }
    }
  }
}

template <class Finish>
void for_sums(const ConvPlan& plan, std::span<const ConvTask> tasks, const int8_t* weights,
              const int32_t* bias, const Finish& finish) {
  for (const ConvTask& task : tasks) for_sums_of(plan, task, weights, bias, finish);
}

void convolve_int8(const ConvPlan& plan, std::span<const ConvTask> tasks, const int8_t* weights,
                   const int32_t* bias, const Requantization& to, uint8_t* y) {
  for_sums(plan, tasks, weights, bias, [&](int64_t slot, int32_t sum, int64_t index) {
    const Dyadic scale = {to.multipliers[slot], to.shifts[slot], to.lefts[slot]};
    y[index] = requantize(sum, scale, to.zero, to.min, to.max);
  });
}

void convolve_int8_to_floats(const ConvPlan& plan, std::span<const ConvTask> tasks,
                             const int8_t* weights, const int32_t* bias, const Int8ToFloat& to,
                             float* y) {
  for_sums(plan, tasks, weights, bias, [&](int64_t slot, int32_t sum, int64_t index) {
    y[index] = std::clamp(to.scales[slot] * static_cast<float>(sum), to.low, to.high);
  });
}

#else

// What both results share.
struct Int8Products {
  using Sums = Ints;
  static constexpr int64_t kElementBytes = 1;
  // Without the VNNI instruction a product needs registers of its own.
  static constexpr size_t kTilePixels = kParts == 1 ? 12 : 4;
  static_assert(kTilePixels <= kSpareOffsets);
  using Weights = Bytes;

  static HWY_INLINE Bytes load(const uint8_t* p) { return hn::Load(BytesTag(), p); }
  static HWY_INLINE Bytes broadcast(const uint8_t* p) { return load_quad(p); }
  static HWY_INLINE Ints multiply_add(Ints sums, Bytes x, Bytes w) { return dot4<8>(sums, x, w); }
  HWY_INLINE Ints start(int64_t slot) const { return hn::Load(IntsTag(), bias + slot); }

  const int32_t* bias;
};

struct Int8ToCodes : Int8Products {
  struct Finish {
    VectorRequantizer requantizer;
    const Requantization& to;
    uint8_t* y;
    HWY_INLINE void operator()(Ints sums, int64_t index, int64_t count) const {
      store_codes(requantizer(sums, to), y + index, count);
    }
  };
  HWY_INLINE Finish finish(int64_t slot) const { return {VectorRequantizer(to, slot), to, y}; }

#if HWY_TARGET == HWY_AVX3_DL
  struct PairFinish {
    VectorRequantizer first;
    VectorRequantizer second;
    const Requantization& to;
    uint8_t* y;
    HWY_INLINE void operator()(Ints sums, Ints more, int64_t index) const {
      const __m256i codes = code_pair(first.scaled(sums), second.scaled(more), to);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + index), codes);
    }
  };
  HWY_INLINE PairFinish finish_pair(int64_t slot) const {
    constexpr auto kNext = static_cast<int64_t>(kPartRows);
    return {VectorRequantizer(to, slot), VectorRequantizer(to, slot + kNext), to, y};
  }
#endif

  const Requantization& to;
  uint8_t* y;
};

struct Int8ToNumbers : Int8Products {
  struct Finish {
    Floats scales;
    Floats low;
    Floats high;
    float* y;
    HWY_INLINE void operator()(Ints sums, int64_t index, int64_t count) const {
      const FloatsTag df;
      const Floats products = hn::Mul(scales, hn::ConvertTo(df, sums));
      const Floats numbers = hn::Min(hn::Max(products, low), high);
      if (HWY_LIKELY(count >= static_cast<int64_t>(kPartRows))) {
        hn::StoreU(numbers, df, y + index);
      } else {
        HWY_ALIGN float all[kPartRows];
        hn::Store(numbers, df, all);
        std::memcpy(y + index, all, static_cast<size_t>(count) * sizeof(float));
      }
    }
  };
  HWY_INLINE Finish finish(int64_t slot) const {
    const FloatsTag df;
    return {hn::Load(df, to.scales.data() + slot), hn::Set(df, to.low), hn::Set(df, to.high), y};
  }

  const Int8ToFloat& to;
  float* y;
};

void convolve_int8(const ConvPlan& plan, std::span<const ConvTask> tasks, const int8_t* weights,
                   const int32_t* bias, const Requantization& to, uint8_t* y) {
  const Int8ToCodes arithmetic{{bias}, to, y};
  convolve_tasks(plan, arithmetic, reinterpret_cast<const uint8_t*>(weights), tasks);
}

void convolve_int8_to_floats(const ConvPlan& plan, std::span<const ConvTask> tasks,
                             const int8_t* weights, const int32_t* bias, const Int8ToFloat& to,
                             float* y) {
  const Int8ToNumbers arithmetic{{bias}, to, y};
  convolve_tasks(plan, arithmetic, reinterpret_cast<const uint8_t*>(weights), tasks);
}

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {
namespace {

HWY_EXPORT(convolve_int8);
HWY_EXPORT(convolve_int8_to_floats);

// Sums, partial ones too, must fit int32: x_zero's share is in the bias.
void check_sum(int64_t output, int64_t magnitudes, int64_t bias) {
  if (magnitudes * 255 + std::abs(bias) < int64_t{1} << 31) return;
  fail(ErrorCode::kUnsupported,
       "integer convolution: the sum of output {} could reach {}, which is more than 32 bits",
       output, magnitudes * 255 + std::abs(bias));
}

// Padding with a zero point of 0 adds nothing, and biases hold the same share of it at borders and
// inside. Taps that are no whole steps cannot be left out of a kernel row.
ConvBorders borders(const Int8ConvSpec& spec, bool depthwise) {
  const bool can_skip = spec.x_zero == 0 && (depthwise || spec.shape.group_channels() % 4 == 0);
  return can_skip ? ConvBorders::kSkipped : ConvBorders::kCopied;
}

}  // namespace

Int8Conv::Int8Conv(const Int8ConvSpec& spec)
    // Depthwise layers that end the integers are rare: they are layers of groups.
    : depthwise_(spec.shape.is_depthwise() && spec.number_scales.empty()),
      x_zero_(spec.x_zero),
      plan_(spec.shape, 1, borders(spec, depthwise_)),
      name_(fmt::format("int8 {}convolution, {}", depthwise_ ? "depthwise " : "", int_dot_name())) {
  const ConvShape& shape = spec.shape;
  const auto outputs = static_cast<size_t>(shape.outputs);
  const int64_t inputs = shape.weights() / shape.outputs;  // of an output
  BITSMITH_ASSERT(spec.weights.size() == static_cast<size_t>(shape.weights()));
  BITSMITH_ASSERT((spec.scales.size() == outputs) != (spec.number_scales.size() == outputs));
  BITSMITH_ASSERT(spec.bias.empty() || spec.bias.size() == outputs);
  const DepthwiseLayout depthwise(shape);
  const int64_t slots = depthwise_ ? depthwise.channels() : plan_.panels() * ConvPlan::kPanel;
  bias_ = AlignedArray<int32_t>(slots);
  const bool to_codes = spec.number_scales.empty();
  std::vector<Dyadic> scales(static_cast<size_t>(to_codes ? slots : 0));
  if (!to_codes) numbers_ = {AlignedArray<float>(slots), spec.low, spec.high};
  if (depthwise_) weights_ = AlignedArray<int8_t>(depthwise.weight_bytes());
  for (int64_t o = 0; o < shape.outputs; ++o) {
    int64_t bias = spec.bias.empty() ? 0 : spec.bias[static_cast<size_t>(o)];
    int64_t magnitudes = 0;
    for (int64_t i = 0; i < inputs; ++i) {
      const int8_t w = spec.weights[static_cast<size_t>(o * inputs + i)];
      bias -= int64_t{spec.x_zero} * w;
      magnitudes += std::abs(int{w});
      if (depthwise_) weights_[depthwise.weight(o, i)] = w;
    }
    check_sum(o, magnitudes, bias);
    const int64_t slot = depthwise_ ? depthwise.slot(o) : plan_.slot(o);
    bias_[slot] = static_cast<int32_t>(bias);
    if (to_codes) {
      scales[static_cast<size_t>(slot)] = spec.scales[static_cast<size_t>(o)];
    } else {
      numbers_.scales[slot] = spec.number_scales[static_cast<size_t>(o)];
    }
  }
  if (!depthwise_) weights_ = plan_.pack(spec.weights);
  if (to_codes) to_ = Requantization(scales, slots, spec.y_zero, spec.y_min, spec.y_max);
}

void Int8Conv::run(const uint8_t* x, int64_t images, float* y, ThreadPool& pool) const {
  BITSMITH_ASSERT(numbers_.scales.size() > 0);
  plan_.run(x, images, plan_.panels(), &x_zero_, pool, [&](std::span<const ConvTask> tasks) {
    HWY_DYNAMIC_DISPATCH(convolve_int8_to_floats)
    (plan_, tasks, weights_.data(), bias_.data(), numbers_, y);
  });
}

void Int8Conv::run(const uint8_t* x, int64_t images, uint8_t* y, ThreadPool& pool) const {
  BITSMITH_ASSERT(numbers_.scales.size() == 0);
  const int64_t panels =
      depthwise_ ? ceil_div(plan_.shape().channels, kDepthwiseBlock) : plan_.panels();
  plan_.run(x, images, panels, &x_zero_, pool, [&](std::span<const ConvTask> tasks) {
    if (!depthwise_) {
      HWY_DYNAMIC_DISPATCH(convolve_int8)(plan_, tasks, weights_.data(), bias_.data(), to_, y);
      return;
    }
    thread_local std::vector<int64_t> taps;
    for (const ConvTask& task : tasks) {
      set_depthwise_taps(plan_, task, taps);
      convolve_depthwise_int8(plan_, task, taps, weights_.data(), bias_.data(), to_, y);
    }
  });
}

}  // namespace bitsmith
#endif
