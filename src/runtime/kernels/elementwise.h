// The operators between linear layers, on one thread: callers split rows among threads.
#pragma once

#include <cstdint>

namespace bitsmith {

// Definitions are those of graph/operators.h. Outputs may be their inputs' memory. Results depend
// on the target but not on where an element or run stands among others, but for the order of sums.

// y = x / sqrt(mean(x²) + epsilon) * weight.  x, y [runs, channels], weight [channels]
void rms_norm(const float* x, const float* weight, int64_t runs, int64_t channels, double epsilon,
              float* y) noexcept;

// Rotates each head's pairs (i, i + head_dim / 2).
//   x, y [tokens, heads, head_dim];  cos, sin [tokens, head_dim / 2], magnitude included
void rope(const float* x, const float* cos, const float* sin, int64_t tokens, int64_t heads,
          int64_t head_dim, float* y) noexcept;

// x * sigmoid(x)
void silu(const float* x, int64_t count, float* y) noexcept;

// silu(gate) * up
void silu_multiply(const float* gate, const float* up, int64_t count, float* y) noexcept;

// x/2 * (1 + tanh(√(2/π) * (x + 0.044715 x³)))
void gelu_tanh(const float* x, int64_t count, float* y) noexcept;

// gelu_tanh(gate) * up
void gelu_tanh_multiply(const float* gate, const float* up, int64_t count, float* y) noexcept;

// factor * x
void scale(const float* x, float factor, int64_t count, float* y) noexcept;

// cap * tanh(x / cap)
void soft_cap(const float* x, float cap, int64_t count, float* y) noexcept;

void add(const float* a, const float* b, int64_t count, float* y) noexcept;
void multiply(const float* a, const float* b, int64_t count, float* y) noexcept;

// min(max(x, low), high), and the same of a + b. NaN stays NaN.
void clamp(const float* x, float low, float high, int64_t count, float* y) noexcept;
void add_clamped(const float* a, const float* b, float low, float high, int64_t count,
                 float* y) noexcept;

// y[t, c] += bias[c].  y [rows][stride]
void add_bias(const float* bias, int64_t rows, int64_t channels, int64_t stride, float* y) noexcept;

// log(sum(exp(x))), shifted by the largest x and summed in float64; -infinity for count = 0.
double log_sum_exp(const float* x, int64_t count) noexcept;

// exp(x) / sum(exp(x)), shifted by the largest x.
void softmax(const float* x, int64_t count, float* y) noexcept;

}  // namespace bitsmith
