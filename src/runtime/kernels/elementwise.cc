// The operators between linear layers.
#include "runtime/kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/elementwise.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatsTag = hn::ScalableTag<float>;
using Floats = hn::Vec<FloatsTag>;
constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(FloatsTag()));

HWY_INLINE Floats load(const float* p) { return hn::LoadU(FloatsTag(), p); }
HWY_INLINE void store(Floats v, float* p) { hn::StoreU(v, FloatsTag(), p); }

// Lanes [0, count) of p, zeros above; count in (0, kLanes).
HWY_INLINE Floats load_some(const float* p, int64_t count) {
  HWY_ALIGN float lanes[kLanes] = {};
  std::copy_n(p, count, lanes);
  return hn::Load(FloatsTag(), lanes);
}
HWY_INLINE void store_some(Floats v, float* p, int64_t count) {
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, FloatsTag(), lanes);
  std::copy_n(lanes, count, p);
}

// y[i] = f(i, load) for all i, where `load(p)` gives the lanes of p + i that exist.
template <class F>
HWY_INLINE void for_each_vector(int64_t count, float* y, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    store(f([&](const float* p) HWY_ATTR { return load(p + i); }), y + i);
  }
  if (i < count) {
    const int64_t rest = count - i;
    store_some(f([&](const float* p) HWY_ATTR { return load_some(p + i, rest); }), y + i, rest);
  }
}

void rms_norm(const float* x, const float* weight, int64_t runs, int64_t channels, double epsilon,
              float* y) {
  const FloatsTag df;
  for (int64_t run = 0; run < runs; ++run) {
    const float* in = x + run * channels;
    Floats a = hn::Zero(df);
    Floats b = hn::Zero(df);
    int64_t i = 0;
    for (; i + 2 * kLanes <= channels; i += 2 * kLanes) {
      const Floats u = load(in + i);
      const Floats v = load(in + i + kLanes);
      a = hn::MulAdd(u, u, a);
      b = hn::MulAdd(v, v, b);
    }
    for (; i < channels; i += kLanes) {
      const Floats u = i + kLanes <= channels ? load(in + i) : load_some(in + i, channels - i);
      a = hn::MulAdd(u, u, a);
    }
    const double sum = hn::GetLane(hn::SumOfLanes(df, hn::Add(a, b)));
    const double mean = sum / static_cast<double>(channels);
    const Floats inverse = hn::Set(df, static_cast<float>(1.0 / std::sqrt(mean + epsilon)));
    for_each_vector(channels, y + run * channels, [&](const auto& at) HWY_ATTR {
      return hn::Mul(hn::Mul(at(in), inverse), at(weight));
    });
  }
}

void rope(const float* x, const float* cos, const float* sin, int64_t tokens, int64_t heads,
          int64_t head_dim, float* y) {
  const int64_t half = head_dim / 2;
  for (int64_t t = 0; t < tokens; ++t) {
    const float* c = cos + t * half;
    const float* s = sin + t * half;
    for (int64_t h = 0; h < heads; ++h) {
      const float* in = x + (t * heads + h) * head_dim;
      float* out = y + (t * heads + h) * head_dim;
      const auto rotate = [&](int64_t i, const auto& get, const auto& put) HWY_ATTR {
        const Floats a = get(in + i);
        const Floats b = get(in + i + half);
        const Floats vc = get(c + i);
        const Floats vs = get(s + i);
        put(hn::NegMulAdd(b, vs, hn::Mul(a, vc)), out + i);
        put(hn::MulAdd(a, vs, hn::Mul(b, vc)), out + i + half);
      };
      int64_t i = 0;
      for (; i + kLanes <= half; i += kLanes) {
        rotate(
            i, [](const float* p) HWY_ATTR { return load(p); },
            [](Floats v, float* p) HWY_ATTR { store(v, p); });
      }
      if (i < half) {
        const int64_t rest = half - i;
        rotate(
            i, [&](const float* p) HWY_ATTR { return load_some(p, rest); },
            [&](Floats v, float* p) HWY_ATTR { store_some(v, p, rest); });
      }
    }
  }
}

HWY_INLINE Floats silu_of(Floats x) {
  const FloatsTag df;
  // exp overflows to infinity below -88.7, which gives -0.
  const Floats e = hn::Exp(df, hn::Min(hn::Neg(x), hn::Set(df, 88.0F)));
  return hn::Div(x, hn::Add(hn::Set(df, 1.0F), e));
}

void silu(const float* x, int64_t count, float* y) {
  for_each_vector(count, y, [&](const auto& at) HWY_ATTR { return silu_of(at(x)); });
}

void silu_multiply(const float* gate, const float* up, int64_t count, float* y) {
  for_each_vector(count, y,
                  [&](const auto& at) HWY_ATTR { return hn::Mul(silu_of(at(gate)), at(up)); });
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)).
HWY_INLINE Floats gelu_tanh_of(Floats x) {
  const FloatsTag df;
  constexpr float kSlope = -1.5957691216057308F;  // -2 √(2/π)
  const Floats cubic = hn::Mul(hn::Mul(x, x), hn::Set(df, kSlope * 0.044715F));
  const Floats u = hn::Mul(x, hn::Add(cubic, hn::Set(df, kSlope)));
  const Floats e = hn::Exp(df, hn::Min(u, hn::Set(df, 88.0F)));
  return hn::Div(x, hn::Add(hn::Set(df, 1.0F), e));
}

void gelu_tanh(const float* x, int64_t count, float* y) {
  for_each_vector(count, y, [&](const auto& at) HWY_ATTR { return gelu_tanh_of(at(x)); });
}

void gelu_tanh_multiply(const float* gate, const float* up, int64_t count, float* y) {
  for_each_vector(count, y,
                  [&](const auto& at) HWY_ATTR { return hn::Mul(gelu_tanh_of(at(gate)), at(up)); });
}

void scale(const float* x, float factor, int64_t count, float* y) {
  const Floats f = hn::Set(FloatsTag(), factor);
  for_each_vector(count, y, [&](const auto& at) HWY_ATTR { return hn::Mul(at(x), f); });
}

void soft_cap(const float* x, float cap, int64_t count, float* y) {
  const FloatsTag df;
  const Floats c = hn::Set(df, cap);
  for_each_vector(count, y, [&](const auto& at) HWY_ATTR {
    return hn::Mul(c, hn::Tanh(df, hn::Div(at(x), c)));
  });
}

void add(const float* a, const float* b, int64_t count, float* y) {
  for_each_vector(count, y, [&](const auto& at) HWY_ATTR { return hn::Add(at(a), at(b)); });
}

void multiply(const float* a, const float* b, int64_t count, float* y) {
  for_each_vector(count, y, [&](const auto& at) HWY_ATTR { return hn::Mul(at(a), at(b)); });
}

// By comparisons, because Min and Max of some targets drop NaN.
HWY_INLINE Floats clamped(Floats v, Floats low, Floats high) {
  const Floats above = hn::IfThenElse(hn::Lt(v, low), low, v);
  return hn::IfThenElse(hn::Gt(above, high), high, above);
}

void clamp(const float* x, float low, float high, int64_t count, float* y) {
  const Floats l = hn::Set(FloatsTag(), low);
  const Floats h = hn::Set(FloatsTag(), high);
  for_each_vector(count, y, [&](const auto& at) HWY_ATTR { return clamped(at(x), l, h); });
}

void add_clamped(const float* a, const float* b, float low, float high, int64_t count, float* y) {
  const Floats l = hn::Set(FloatsTag(), low);
  const Floats h = hn::Set(FloatsTag(), high);
  for_each_vector(count, y,
                  [&](const auto& at) HWY_ATTR { return clamped(hn::Add(at(a), at(b)), l, h); });
}

void add_bias(const float* bias, int64_t rows, int64_t channels, int64_t stride, float* y) {
  for (int64_t r = 0; r < rows; ++r) add(y + r * stride, bias, channels, y + r * stride);
}

float largest_of(const float* x, int64_t count) {
  const FloatsTag df;
  Floats largest = hn::Set(df, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) largest = hn::Max(largest, load(x + i));
  float result = hn::GetLane(hn::MaxOfLanes(df, largest));
  for (; i < count; ++i) result = std::max(result, x[i]);
  return result;
}

// The sum of exp(x - largest) in float64; `put(e, i, n)` sees the n exponentials from i on.
template <class F>
HWY_INLINE double sum_of_exps(const float* x, int64_t count, float largest, const F& put) {
  const FloatsTag df;
  const Floats shift = hn::Set(df, largest);
  HWY_ALIGN float lanes[kLanes];
  HWY_ALIGN double sums[kLanes] = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t n = std::min(kLanes, count - i);
    const Floats v = n == kLanes ? load(x + i) : load_some(x + i, n);
    const Floats e = hn::Exp(df, hn::Sub(v, shift));
    put(e, i, n);
    hn::Store(e, df, lanes);
    for (int64_t k = 0; k < n; ++k) sums[k] += static_cast<double>(lanes[k]);
  }
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum;
}

double log_sum_exp(const float* x, int64_t count) {
  if (count == 0) return -std::numeric_limits<double>::infinity();
  const float largest = largest_of(x, count);
  if (std::isinf(largest)) return static_cast<double>(largest);
  const double sum = sum_of_exps(x, count, largest, [](Floats, int64_t, int64_t) HWY_ATTR {});
  return static_cast<double>(largest) + std::log(sum);
}

void softmax(const float* x, int64_t count, float* y) {
  if (count == 0) return;
  const double sum =
      sum_of_exps(x, count, largest_of(x, count), [&](Floats e, int64_t i, int64_t n) HWY_ATTR {
        if (n == kLanes) {
          store(e, y + i);
        } else {
          store_some(e, y + i, n);
        }
      });
  const Floats inverse = hn::Set(FloatsTag(), static_cast<float>(1.0 / sum));
  for_each_vector(count, y, [&](const auto& at) HWY_ATTR { return hn::Mul(at(y), inverse); });
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(rms_norm);
HWY_EXPORT(rope);
HWY_EXPORT(silu);
HWY_EXPORT(silu_multiply);
HWY_EXPORT(gelu_tanh);
HWY_EXPORT(gelu_tanh_multiply);
HWY_EXPORT(scale);
HWY_EXPORT(soft_cap);
HWY_EXPORT(add);
HWY_EXPORT(multiply);
HWY_EXPORT(clamp);
HWY_EXPORT(add_clamped);
HWY_EXPORT(add_bias);
HWY_EXPORT(log_sum_exp);
HWY_EXPORT(softmax);

void rms_norm(const float* x, const float* weight, int64_t runs, int64_t channels, double epsilon,
              float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(rms_norm)(x, weight, runs, channels, epsilon, y);
}

void rope(const float* x, const float* cos, const float* sin, int64_t tokens, int64_t heads,
          int64_t head_dim, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(rope)(x, cos, sin, tokens, heads, head_dim, y);
}

void silu(const float* x, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(silu)(x, count, y);
}

void silu_multiply(const float* gate, const float* up, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(silu_multiply)(gate, up, count, y);
}

void gelu_tanh(const float* x, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(gelu_tanh)(x, count, y);
}

void gelu_tanh_multiply(const float* gate, const float* up, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(gelu_tanh_multiply)(gate, up, count, y);
}

void scale(const float* x, float factor, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(scale)(x, factor, count, y);
}

void soft_cap(const float* x, float cap, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(soft_cap)(x, cap, count, y);
}

void add(const float* a, const float* b, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(add)(a, b, count, y);
}

void multiply(const float* a, const float* b, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(multiply)(a, b, count, y);
}

void clamp(const float* x, float low, float high, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(clamp)(x, low, high, count, y);
}

void add_clamped(const float* a, const float* b, float low, float high, int64_t count,
                 float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(add_clamped)(a, b, low, high, count, y);
}

void add_bias(const float* bias, int64_t rows, int64_t channels, int64_t stride,
              float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(add_bias)(bias, rows, channels, stride, y);
}

double log_sum_exp(const float* x, int64_t count) noexcept {
  return HWY_DYNAMIC_DISPATCH(log_sum_exp)(x, count);
}

void softmax(const float* x, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(softmax)(x, count, y);
}

}  // namespace bitsmith
#endif
