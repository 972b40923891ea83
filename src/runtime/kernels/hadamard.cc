// Rotations whose product with a vector costs n log n.
#include "runtime/kernels/hadamard.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "runtime/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/hadamard.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 8 lanes: partners inside of a vector are then neighbours, pairs of neighbours, or halves.
using FloatsTag = hn::CappedTag<float, 8>;
using Floats = hn::Vec<FloatsTag>;
constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(FloatsTag()));

// (a, b) -> (a + b, a - b) for lanes that lie `stride` apart; `partners` swaps a and b.
template <int64_t stride, class Partners>
HWY_INLINE Floats butterfly(Floats v, const Partners& partners) {
  const FloatsTag df;
  HWY_ALIGN float signs[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) signs[i] = i / stride % 2 == 0 ? 1.0F : -1.0F;
  return hn::Add(partners(v), hn::Mul(v, hn::Load(df, signs)));
}

// All strides below the number of lanes.
HWY_INLINE Floats butterflies(Floats v) {
#if HWY_TARGET != HWY_SCALAR
  v = butterfly<1>(v, [](Floats x) HWY_ATTR { return hn::Reverse2(FloatsTag(), x); });
  v = butterfly<2>(v, [](Floats x) HWY_ATTR { return hn::Shuffle1032(x); });
  if constexpr (kLanes == 8) {
    v = butterfly<4>(v, [](Floats x) HWY_ATTR { return hn::SwapAdjacentBlocks(x); });
  }
#endif
  return v;
}

HWY_INLINE void walsh_hadamard_run(float* x, int64_t n) {
  const FloatsTag df;
  int64_t stride = 1;
  if (n >= kLanes) {
    for (int64_t i = 0; i < n; i += kLanes) {
      hn::StoreU(butterflies(hn::LoadU(df, x + i)), df, x + i);
    }
    stride = kLanes;
  }
  for (; stride < n; stride *= 2) {
    for (int64_t begin = 0; begin < n; begin += 2 * stride) {
      float* a = x + begin;
      float* b = a + stride;
      if (stride >= kLanes) {
        for (int64_t i = 0; i < stride; i += kLanes) {
          const Floats u = hn::LoadU(df, a + i);
          const Floats v = hn::LoadU(df, b + i);
          hn::StoreU(hn::Add(u, v), df, a + i);
          hn::StoreU(hn::Sub(u, v), df, b + i);
        }
      } else {
        for (int64_t i = 0; i < stride; ++i) {
          const float u = a[i];
          const float v = b[i];
          a[i] = u + v;
          b[i] = u - v;
        }
      }
    }
  }
}

void walsh_hadamard(float* x, int64_t runs, int64_t n) {
  for (int64_t run = 0; run < runs; ++run) walsh_hadamard_run(x + run * n, n);
}

// y[i, :] = Σ_j matrix[i, j] x[j, :],  x, y [m][cols]
void mix(const float* matrix, int64_t m, const float* x, int64_t cols, float* y) {
  const FloatsTag df;
  for (int64_t i = 0; i < m; ++i) {
    const float* factors = matrix + i * m;
    float* out = y + i * cols;
    int64_t c = 0;
    for (; c + kLanes <= cols; c += kLanes) {
      Floats sum = hn::Zero(df);
      for (int64_t j = 0; j < m; ++j) {
        sum = hn::MulAdd(hn::Set(df, factors[j]), hn::LoadU(df, x + j * cols + c), sum);
      }
      hn::StoreU(sum, df, out + c);
    }
    for (; c < cols; ++c) {
      float sum = 0;
      for (int64_t j = 0; j < m; ++j) sum += factors[j] * x[j * cols + c];
      out[c] = sum;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(walsh_hadamard);
HWY_EXPORT(mix);

void walsh_hadamard(float* x, int64_t runs, int64_t n) noexcept {
  HWY_DYNAMIC_DISPATCH(walsh_hadamard)(x, runs, n);
}

HadamardRotation::HadamardRotation(std::span<const float> signs)
    : signs_(signs.begin(), signs.end()) {
  const auto bad = std::ranges::find_if(signs_, [](float s) { return s != 1 && s != -1; });
  if (signs_.empty() || bad != signs_.end()) {
    fail(ErrorCode::kInvalidArgument, "a Hadamard rotation needs signs, 1 or -1{}",
         bad == signs_.end() ? "" : fmt::format(": number {} is {}", bad - signs_.begin(), *bad));
  }
  while (size() % (2 * power_) == 0) power_ *= 2;
  odd_ = size() / power_;
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(power_)));
  for (float& s : signs_) s *= scale;
  if (odd_ == 1) return;
  for (int64_t i = 0; i < odd_; ++i) {
    for (int64_t j = 0; j < odd_; ++j) {
      const double t =
          2 * std::numbers::pi * static_cast<double>(i * j % odd_) / static_cast<double>(odd_);
      hartley_.push_back(
          static_cast<float>((std::cos(t) + std::sin(t)) / std::sqrt(static_cast<double>(odd_))));
    }
  }
}

void HadamardRotation::multiply_in_place(float* run) const {
  walsh_hadamard(run, odd_, power_);
  if (odd_ == 1) return;
  thread_local std::vector<float> mixed;
  mixed.resize(signs_.size());
  HWY_DYNAMIC_DISPATCH(mix)(hartley_.data(), odd_, run, power_, mixed.data());
  std::ranges::copy(mixed, run);
}

void HadamardRotation::apply(const float* x, int64_t runs, float* y) const {
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t begin = run * size();
    for (int64_t i = 0; i < size(); ++i)
      y[begin + i] = x[begin + i] * signs_[static_cast<size_t>(i)];
    multiply_in_place(y + begin);
  }
}

void HadamardRotation::apply_inverse(const float* x, int64_t runs, float* y) const {
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t begin = run * size();
    if (x != y) std::copy_n(x + begin, size(), y + begin);
    multiply_in_place(y + begin);
    for (int64_t i = 0; i < size(); ++i) y[begin + i] *= signs_[static_cast<size_t>(i)];
  }
}

}  // namespace bitsmith
#endif  // HWY_ONCE
