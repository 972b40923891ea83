// Rows of plain float weights times float activations, in register tiles of dot products.
#include "runtime/kernels/float_rows.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "runtime/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/float_rows.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatsTag = hn::ScalableTag<float>;
using Floats = hn::Vec<FloatsTag>;
constexpr size_t kLanes = hn::MaxLanes(FloatsTag());

// Registers: kTileRows * kTileTokens sums, kTileRows weights, one activation.
constexpr size_t kTileRows = 4;
constexpr size_t kTileTokens = HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON ? 6 : 2;

HWY_INLINE Floats load_weights(const float* p) { return hn::LoadU(FloatsTag(), p); }
template <class Half>  // hwy::float16_t or hwy::bfloat16_t
HWY_INLINE Floats load_weights(const Half* p) {
  return hn::PromoteTo(FloatsTag(), hn::LoadU(hn::Rebind<Half, FloatsTag>(), p));
}

template <class Number, size_t kRows, size_t kTokens>
HWY_NOINLINE void multiply_tile(const Number* HWY_RESTRICT w, int64_t cols,
                                const float* HWY_RESTRICT x, float* HWY_RESTRICT y,
                                int64_t y_stride) {
  constexpr auto kStep = static_cast<int64_t>(kLanes);
  Floats sums[kTokens][kRows];
  unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
    unroll<kRows>([&](auto r) BITSMITH_UNROLLED { sums[t][r] = hn::Zero(FloatsTag()); });
  });
  int64_t c = 0;
  for (; c + kStep <= cols; c += kStep) {
    Floats weights[kRows];
    unroll<kRows>([&](auto r) BITSMITH_UNROLLED {
      weights[r] = load_weights(w + static_cast<int64_t>(r) * cols + c);
    });
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
      const Floats v = hn::LoadU(FloatsTag(), x + static_cast<int64_t>(t) * cols + c);
      unroll<kRows>([&](auto r)
                        BITSMITH_UNROLLED { sums[t][r] = hn::MulAdd(weights[r], v, sums[t][r]); });
    });
  }
  if (c < cols) {  // the rest as if followed by zeros
    alignas(64) Number rest_w[kRows][kLanes] = {};
    alignas(64) float rest_x[kTokens][kLanes] = {};
    const auto rest = static_cast<size_t>(cols - c);
    for (size_t r = 0; r < kRows; ++r) {
      std::memcpy(rest_w[r], w + static_cast<int64_t>(r) * cols + c, rest * sizeof(Number));
    }
    for (size_t t = 0; t < kTokens; ++t) {
      std::memcpy(rest_x[t], x + static_cast<int64_t>(t) * cols + c, rest * sizeof(float));
    }
    unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
      const Floats v = hn::Load(FloatsTag(), rest_x[t]);
      unroll<kRows>([&](auto r) BITSMITH_UNROLLED {
        sums[t][r] = hn::MulAdd(load_weights(rest_w[r]), v, sums[t][r]);
      });
    });
  }
  unroll<kTokens>([&](auto t) BITSMITH_UNROLLED {
    unroll<kRows>([&](auto r) BITSMITH_UNROLLED {
      y[static_cast<int64_t>(t) * y_stride + static_cast<int64_t>(r)] =
          hn::GetLane(hn::SumOfLanes(FloatsTag(), sums[t][r]));
    });
  });
}

template <class Number, size_t kRows>
HWY_INLINE void multiply_tokens(const Number* w, int64_t cols, const float* x, int64_t tokens,
                                float* y, int64_t y_stride) {
  constexpr auto kTokens = static_cast<int64_t>(kTileTokens);
  int64_t t = 0;
  for (; t + kTokens <= tokens; t += kTokens) {
    multiply_tile<Number, kRows, kTileTokens>(w, cols, x + t * cols, y + t * y_stride, y_stride);
  }
  for (; t < tokens; ++t) {
    multiply_tile<Number, kRows, 1>(w, cols, x + t * cols, y + t * y_stride, y_stride);
  }
}

template <class Number>
void multiply_rows(const Number* w, int64_t rows, int64_t cols, const float* x, int64_t tokens,
                   float* y, int64_t y_stride) {
  constexpr auto kRows = static_cast<int64_t>(kTileRows);
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    multiply_tokens<Number, kTileRows>(w + r * cols, cols, x, tokens, y + r, y_stride);
  }
  for (; r < rows; ++r) {
    multiply_tokens<Number, 1>(w + r * cols, cols, x, tokens, y + r, y_stride);
  }
}

void multiply_any_rows(const void* w, DType dtype, int64_t rows, int64_t cols, const float* x,
                       int64_t tokens, float* y, int64_t y_stride) {
  switch (dtype) {
    case DType::kF32:
      return multiply_rows(static_cast<const float*>(w), rows, cols, x, tokens, y, y_stride);
    case DType::kF16:
      return multiply_rows(static_cast<const hwy::float16_t*>(w), rows, cols, x, tokens, y,
                           y_stride);
    case DType::kBF16:
      return multiply_rows(static_cast<const hwy::bfloat16_t*>(w), rows, cols, x, tokens, y,
                           y_stride);
    default:
      BITSMITH_ASSERT(false);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(multiply_any_rows);

void multiply_float_rows(const void* w, DType dtype, int64_t rows, int64_t cols, const float* x,
                         int64_t tokens, float* y, int64_t y_stride) noexcept {
  HWY_DYNAMIC_DISPATCH(multiply_any_rows)(w, dtype, rows, cols, x, tokens, y, y_stride);
}

int64_t float_token_block(int64_t cols) {
  constexpr int64_t kFloats = 96 * 1024;  // 384 KiB
  return std::max<int64_t>(6, kFloats / std::max<int64_t>(cols, 1) / 6 * 6);
}

}  // namespace bitsmith
#endif
