// Float kernels against sums in float64, and the independence of a result from its neighbours.
#include <cmath>
#include <cstring>

#include "runtime/kernels/linear.h"
#include "runtime/kernels/targets_test.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

// Random weights in the codec's own bytes.
std::vector<std::byte> random_weights(const std::string& codec, int64_t count, Random& random) {
  std::vector<std::byte> bytes;
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(random.normal());
    const auto append = [&](const auto& bits) {
      const auto* p = reinterpret_cast<const std::byte*>(&bits);
      bytes.insert(bytes.end(), p, p + sizeof(bits));
    };
    if (codec == "f32") {
      append(value);
    } else {
      append(codec == "f16" ? float_to_f16(value) : float_to_bf16(value));
    }
  }
  return bytes;
}

class FloatKernel : public EachTarget {
 protected:
  static std::vector<float> run(const LinearKernel& kernel, const std::vector<float>& x,
                                int64_t tokens, int64_t cols, int64_t rows, int threads) {
    ThreadPool pool(threads);
    Activations activations(x.data(), tokens, cols);
    std::vector<float> y(static_cast<size_t>(tokens * rows));
    kernel.multiply(activations, y.data(), rows, pool);
    return y;
  }

  static void check(const std::string& codec, int64_t rows, int64_t cols, int64_t tokens) {
    SCOPED_TRACE(fmt::format("{} {}x{}, {} tokens", codec, rows, cols, tokens));
    Random random(1);
    const auto bytes = random_weights(codec, rows * cols, random);
    const CodedTensor weights = {"w", {rows, cols}, Scheme(codec, nlohmann::json::object()), bytes};
    const std::vector<float> w = weights.decode_all();
    const std::vector<float> x = normal_floats(random, tokens * cols);
    const auto kernel = make_linear_kernel(weights);
    const std::vector<float> y = run(*kernel, x, tokens, cols, rows, 1);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        double magnitude = 0;
        for (int64_t c = 0; c < cols; ++c) {
          const double product = static_cast<double>(w[static_cast<size_t>(r * cols + c)]) *
                                 static_cast<double>(x[static_cast<size_t>(t * cols + c)]);
          sum += product;
          magnitude += std::abs(product);
        }
        // At most two roundings of every partial sum (without fused multiply-add), in any order.
        const double tolerance = 2 * static_cast<double>(cols) * 0x1p-24 * magnitude + 1e-30;
        ASSERT_NEAR(y[static_cast<size_t>(t * rows + r)], sum, tolerance);
      }
    }
    EXPECT_EQ(run(*kernel, x, tokens, cols, rows, 2), y);
    EXPECT_EQ(run(*kernel, x, tokens, cols, rows, 3), y);
    // The last token alone.
    const std::vector<float> last(x.end() - cols, x.end());
    const std::vector<float> alone = run(*kernel, last, 1, cols, rows, 1);
    EXPECT_EQ(alone, std::vector<float>(y.end() - rows, y.end()));
    // Through the decoder, which has the same order of summation.
    EXPECT_EQ(run(*make_decoding_kernel(weights), x, tokens, cols, rows, 2), y);
  }
};

TEST_P(FloatKernel, EdgeShapes) {
  for (const std::string codec : {"f32", "f16", "bf16"}) {
    for (const int64_t rows : {1, 3, 4, 17}) {
      for (const int64_t cols : {1, 5, 16, 63, 288, 1376}) {
        for (const int64_t tokens : {1, 2, 6, 7, 33}) check(codec, rows, cols, tokens);
      }
    }
  }
}

TEST_P(FloatKernel, ManyTokens) { check("f16", 40, 2048, 120); }

BITSMITH_EACH_TARGET(FloatKernel);

}  // namespace
}  // namespace bitsmith
