// Rows of plain float weights times float activations.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace bitsmith {

// y[t * y_stride + r] = sum over c of x[t, c] * w[r, c]
//   w [rows, cols] of type f32, f16 or bf16, row-major;  x [tokens, cols];  y [tokens][y_stride]
//
// Summation order: with L the lanes of the target's float vector, lane i adds the columns i, i + L,
// i + 2L, ... in ascending order by fused multiply-add; then lanes are added pairwise. It depends
// on the target but not on `rows`, `tokens` or the place of a row or token among others.
void multiply_float_rows(const void* w, DType dtype, int64_t rows, int64_t cols, const float* x,
                         int64_t tokens, float* y, int64_t y_stride) noexcept;

// How many tokens to pass at a time, so that their activations stay in the L2 cache.
int64_t float_token_block(int64_t cols);

}  // namespace bitsmith
