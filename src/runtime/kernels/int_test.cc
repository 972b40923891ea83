// The integer kernels against their plain reference, bit for bit, and against the codec's decoder.
#include <cmath>
#include <cstring>

#include "runtime/kernels/int_job.h"
#include "runtime/kernels/targets_test.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

struct Case {
  int64_t rows, cols, group;
  int bits;
  bool symmetric;
};

std::string name_of(const Case& c, int64_t tokens) {
  return fmt::format("{}x{} int{} group {}{} tokens {}", c.rows, c.cols, c.bits, c.group,
                     c.symmetric ? " symmetric" : "", tokens);
}

// Random codes, scales of both signs, random zero points, straight in the layout. What lies
// outside the matrix is zero, as the layout demands.
std::vector<std::byte> random_bytes(const Case& c, const IntLayout& layout, Random& random) {
  std::vector<std::byte> bytes(static_cast<size_t>(layout.total_bytes));
  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t col = 0; col < c.cols; ++col) {
      const unsigned code = static_cast<unsigned>(random.next()) & ((1U << c.bits) - 1U);
      for (int i = 0; i < layout.plane_count; ++i) {
        const IntLayout::Plane& plane = layout.planes[static_cast<size_t>(i)];
        const int per_byte = 8 / plane.width;
        const int64_t quad = col / 4;
        const int64_t at = r / 16 * layout.panel_code_bytes + plane.offset_bytes +
                           quad / per_byte * 64 + r % 16 * 4 + col % 4;
        const unsigned part = code >> plane.shift & ((1U << plane.width) - 1U);
        bytes[static_cast<size_t>(at)] |=
            static_cast<std::byte>(part << (quad % per_byte * plane.width));
      }
    }
    for (int64_t g = 0; g < layout.groups; ++g) {
      const int64_t at = (r / 16 * layout.groups + g) * 16 + r % 16;
      const double sign = random.below(2) == 0 ? -1 : 1;
      const double size = random.below(8) == 0 ? 0x1p-20 : 0x1p-8;  // now and then subnormal
      const double scale = sign * size * (1 + 15 * random.uniform());
      const uint16_t half = float_to_f16(static_cast<float>(scale));
      std::memcpy(bytes.data() + layout.scales_offset + at * 2, &half, 2);
    }
  }
  for (int64_t i = layout.zeros_offset; i < layout.total_bytes; ++i) {
    bytes[static_cast<size_t>(i)] = static_cast<std::byte>(random.next());
  }
  return bytes;
}

CodedTensor tensor_of(const Case& c, std::span<const std::byte> bytes) {
  return {"w",
          {c.rows, c.cols},
          Scheme("int", {{"bits", c.bits}, {"group", c.group}, {"symmetric", c.symmetric}}),
          bytes};
}

class IntKernel : public EachTarget {
 protected:
  // Runs the kernel on 1, 2 and 3 threads and compares with the reference.
  static void check(const Case& c, int64_t tokens, uint64_t seed) {
    SCOPED_TRACE(name_of(c, tokens));
    Random random(seed);
    const IntLayout layout({c.rows, c.cols}, c.bits, c.group, c.symmetric);
    const std::vector<std::byte> bytes = random_bytes(c, layout, random);
    const CodedTensor weights = tensor_of(c, bytes);
    const std::unique_ptr<LinearKernel> kernel = make_linear_kernel(weights);
    const std::vector<float> x = normal_floats(random, tokens * c.cols);
    ThreadPool one(1);
    Activations activations(x.data(), tokens, c.cols);

    // The group length is the kernel's choice: 32 where it fits.
    int64_t activation_group = 32;
    if (layout.groups > 1 && layout.group_cols % 32 != 0) {
      for (activation_group = 64; layout.group_cols % activation_group != 0;) activation_group -= 4;
    }
    const Int8Activations& form = activations.int8(activation_group, one);
    const int64_t stride = c.rows + 3;
    std::vector<float> expected(static_cast<size_t>(tokens * stride), -1.0F);
    const IntJob job = {&layout,         reinterpret_cast<const uint8_t*>(bytes.data()),
                        &form,           tokens,
                        expected.data(), stride};
    multiply_int_reference(job, {0, layout.panels, 0, ceil_div(tokens, Int8Activations::kBlock)});

    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      std::vector<float> y(expected.size(), -1.0F);
      Activations again(x.data(), tokens, c.cols);
      kernel->multiply(again, y.data(), stride, pool);
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_EQ(y[i], expected[i]) << "at " << i << ", " << threads << " threads";
      }
    }
    check_decoder(weights, form, expected, tokens, stride);
  }

  // The reference against decoded weights times what the activations were rounded to.
  static void check_decoder(const CodedTensor& weights, const Int8Activations& form,
                            const std::vector<float>& y, int64_t tokens, int64_t stride) {
    const MatrixShape shape = weights.matrix();
    const std::vector<float> w = weights.decode_all();
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t first = t / Int8Activations::kBlock * Int8Activations::kBlock;
      const int64_t n = std::min(Int8Activations::kBlock, tokens - first);
      for (int64_t r = 0; r < shape.rows; ++r) {
        double sum = 0;
        double magnitude = 0;
        for (int64_t c = 0; c < shape.cols; ++c) {
          const int64_t at = first * form.groups + c / form.group_cols * n + t - first;
          const double x =
              static_cast<double>(form.scales[static_cast<size_t>(at)]) *
              form.codes[static_cast<size_t>(at * form.group_cols + c % form.group_cols)];
          const double product =
              x * static_cast<double>(w[static_cast<size_t>(r * shape.cols + c)]);
          sum += product;
          magnitude += std::abs(product);
        }
        // Per group three roundings, and one of each partial sum.
        const double tolerance = magnitude * static_cast<double>(form.groups + 4) * 0x1p-24 + 1e-30;
        ASSERT_NEAR(y[static_cast<size_t>(t * stride + r)], sum, tolerance);
      }
    }
  }
};

TEST_P(IntKernel, EveryNumberOfBits) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const bool symmetric : {true, false}) {
      for (const int64_t tokens : {1, 2, 21}) {
        check({33, 160, 32, bits, symmetric}, tokens, 1);
      }
    }
  }
}

// Several streams of panels, and panels that are left over.
TEST_P(IntKernel, ManyPanelsOfOneToken) {
  for (int bits = 1; bits <= 8; ++bits) {
    check({64, 70, 32, bits, bits % 2 == 0}, 1, 5);
    check({333, 64, 0, bits, bits % 2 == 1}, 1, 6);
  }
  check({1000, 96, 64, 4, false}, 1, 7);
}

TEST_P(IntKernel, EdgeShapes) {
  for (const int64_t rows : {1, 15, 16, 17}) {
    for (const int64_t cols : {1, 4, 5, 64, 288, 1376}) {
      for (const int64_t tokens : {1, 3, 7, 33}) {
        check({rows, cols, 64, 4, true}, tokens, 2);
      }
    }
  }
}

TEST_P(IntKernel, EdgeShapesOfThreePlanes) {
  for (const int64_t rows : {1, 17}) {
    for (const int64_t cols : {1, 31, 33, 100}) {
      for (const int64_t tokens : {1, 5, 16}) {
        check({rows, cols, 32, 7, false}, tokens, 3);
        check({rows, cols, 0, 7, false}, tokens, 3);
      }
    }
  }
}

TEST_P(IntKernel, EveryGroupLength) {
  for (const int64_t group : {0, 4, 8, 12, 16, 20, 32, 36, 40, 48, 64, 68, 96, 128, 256}) {
    for (const int bits : {3, 8}) {
      for (const int64_t tokens : {1, 18}) {
        check({18, 300, group, bits, bits == 3}, tokens, 4);
      }
    }
  }
}

// Codes 255 and activations -127 and 127 would saturate 16-bit sums of pairs.
TEST_P(IntKernel, LargestProducts) {
  constexpr int64_t kRows = 16;
  constexpr int64_t kCols = 64;
  for (const int bits : {7, 8}) {
    const IntLayout layout({kRows, kCols}, bits, 32, true);
    std::vector<std::byte> bytes(static_cast<size_t>(layout.total_bytes), std::byte{0xff});
    const uint16_t one = float_to_f16(1.0F);
    for (int64_t at = layout.scales_offset; at < layout.zeros_offset; at += 2) {
      std::memcpy(bytes.data() + at, &one, 2);
    }
    const Case c = {kRows, kCols, 32, bits, true};
    const auto kernel = make_linear_kernel(tensor_of(c, bytes));
    ThreadPool pool(1);
    const double weight = (1 << (bits - 1)) - 1;
    for (const int64_t tokens : {1, 2, 4, 16}) {
      for (const float value : {-1.0F, 1.0F}) {
        const std::vector<float> x(static_cast<size_t>(tokens * kCols), value);
        std::vector<float> y(static_cast<size_t>(tokens * kRows));
        Activations activations(x.data(), tokens, kCols);
        kernel->multiply(activations, y.data(), kRows, pool);
        for (const float v : y) ASSERT_NEAR(v, weight * value * kCols, 1e-2);
      }
    }
  }
}

// Groups that no multiple of 4 divides are left to the decoder.
TEST(IntKernelFallback, OddGroups) {
  const Case c = {17, 30, 10, 4, false};
  Random random(5);
  const IntLayout layout({c.rows, c.cols}, c.bits, c.group, c.symmetric);
  const std::vector<std::byte> bytes = random_bytes(c, layout, random);
  const CodedTensor weights = tensor_of(c, bytes);
  const auto kernel = make_linear_kernel(weights);
  EXPECT_EQ(kernel->name(), make_decoding_kernel(weights)->name());
  const std::vector<float> x = normal_floats(random, 3 * c.cols);
  const std::vector<float> w = weights.decode_all();
  std::vector<float> y(static_cast<size_t>(3 * c.rows));
  ThreadPool pool(2);
  Activations activations(x.data(), 3, c.cols);
  kernel->multiply(activations, y.data(), c.rows, pool);
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t r = 0; r < c.rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < c.cols; ++i) {
        sum += static_cast<double>(x[static_cast<size_t>(t * c.cols + i)]) *
               static_cast<double>(w[static_cast<size_t>(r * c.cols + i)]);
      }
      EXPECT_NEAR(y[static_cast<size_t>(t * c.rows + r)], sum, 1e-4);
    }
  }
}

BITSMITH_EACH_TARGET(IntKernel);

}  // namespace
}  // namespace bitsmith
