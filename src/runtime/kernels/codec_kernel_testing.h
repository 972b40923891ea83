// What the tests of kernels for codecs share: a kernel on every target against the portable one,
// which is its specification, and that against the codec's decoder.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>

#include "codecs/codec_testing.h"
#include "runtime/kernels/linear.h"
#include "runtime/kernels/targets_test.h"

namespace bitsmith {

// Normal weights as a codec codes them.
inline std::vector<std::byte> encode_normal(const Scheme& scheme, const MatrixShape& shape) {
  Random random(7);
  ThreadPool pool(1);
  return testing::encode(scheme, shape, normal_floats(random, shape.rows * shape.cols), pool).bytes;
}

// How far the weight a kernel takes may be from what the codec decodes, by row and column.
using WeightError = std::function<double(int64_t row, int64_t col)>;

class CodecKernelTest : public EachTarget {
 protected:
  // x [tokens, cols] times the weights, by a kernel made anew.
  static std::vector<float> multiply(const CodedTensor& weights, const std::vector<float>& x,
                                     int64_t tokens, int threads) {
    const MatrixShape shape = weights.matrix();
    const std::unique_ptr<LinearKernel> kernel = make_linear_kernel(weights);
    EXPECT_TRUE(kernel->name().starts_with("int8")) << kernel->name();
    const int64_t stride = shape.rows + 3;
    std::vector<float> y(static_cast<size_t>(tokens * stride), -1.0F);
    ThreadPool pool(threads);
    Activations activations(x.data(), tokens, shape.cols);
    kernel->multiply(activations, y.data(), stride, pool);
    return y;
  }

  // Same bits as the portable kernel, on 1 to 3 threads and for each token alone; and that within
  // rounding (and `error`) of decoded weights times activations rounded in groups of
  // `activation_group`.
  static void check(const CodedTensor& weights, int64_t tokens, int64_t activation_group,
                    const WeightError& error) {
    const MatrixShape shape = weights.matrix();
    SCOPED_TRACE(
        fmt::format("{} {}x{} tokens {}", weights.scheme.label(), shape.rows, shape.cols, tokens));
    Random random(static_cast<uint64_t>(shape.cols + tokens));
    const std::vector<float> x = normal_floats(random, tokens * shape.cols);
    limit_cpu_target("SCALAR");
    const std::vector<float> expected = multiply(weights, x, tokens, 1);
    limit_cpu_target(GetParam());
    for (const int threads : {1, 2, 3}) {
      const std::vector<float> y = multiply(weights, x, tokens, threads);
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_EQ(y[i], expected[i]) << "at " << i << ", " << threads << " threads";
      }
    }
    const int64_t stride = shape.rows + 3;
    const int64_t last = tokens - 1;
    const std::vector<float> alone(x.begin() + last * shape.cols, x.end());
    const std::vector<float> y = multiply(weights, alone, 1, 2);
    for (int64_t r = 0; r < shape.rows; ++r) {
      ASSERT_EQ(y[static_cast<size_t>(r)], expected[static_cast<size_t>(last * stride + r)]);
    }
    ThreadPool pool(1);
    Activations activations(alone.data(), 1, shape.cols);
    check_decoder(weights, activations.int8(activation_group, pool), y, error);
  }

  static void check_decoder(const CodedTensor& weights, const Int8Activations& form,
                            const std::vector<float>& y, const WeightError& error) {
    const MatrixShape shape = weights.matrix();
    const std::vector<float> w = weights.decode_all();
    for (int64_t r = 0; r < shape.rows; ++r) {
      double sum = 0;
      double magnitude = 0;
      double off = 0;
      for (int64_t c = 0; c < shape.cols; ++c) {
        const auto group = static_cast<size_t>(c / form.group_cols);
        const double x = static_cast<double>(form.scales[group]) *
                         form.codes[group * static_cast<size_t>(form.group_cols) +
                                    static_cast<size_t>(c % form.group_cols)];
        const double product = x * static_cast<double>(w[static_cast<size_t>(r * shape.cols + c)]);
        sum += product;
        magnitude += std::abs(product);
        off += std::abs(x) * error(r, c);
      }
      // Per group five roundings of scales and sums, and one of each partial sum.
      const double rounding = static_cast<double>(form.groups + 6) * 0x1p-24;
      ASSERT_NEAR(y[static_cast<size_t>(r)], sum, (magnitude + off) * rounding + off + 1e-30)
          << "row " << r;
    }
  }
};

}  // namespace bitsmith
