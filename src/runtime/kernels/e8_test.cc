// The kernels for the lattice E8 against their specification and the codec's decoder.
#include "runtime/kernels/codec_kernel_testing.h"

namespace bitsmith {
namespace {

class E8Kernel : public CodecKernelTest {
 protected:
  // Every code, or at least random ones, with scales that are numbers.
  static void check_random(const MatrixShape& shape, int64_t group,
                           const std::vector<int64_t>& tokens) {
    const Scheme scheme("e8", {{"group", group}});
    std::vector<std::byte> bytes(scheme.codec->encoded_bytes(shape, scheme.options));
    Random random(static_cast<uint64_t>(shape.rows));
    const int64_t panels = ceil_div(shape.rows, 16);
    const int64_t code_bytes = panels * ceil_div(ceil_div(shape.cols, 8), 4) * 128;
    for (int64_t i = 0; i < code_bytes; ++i) {
      bytes[static_cast<size_t>(i)] = static_cast<std::byte>(random.next());
    }
    for (size_t i = static_cast<size_t>(code_bytes); i < bytes.size(); i += 2) {
      bytes[i] = static_cast<std::byte>(random.next());
      bytes[i + 1] = std::byte{0x2c};
    }
    const CodedTensor weights{"w", {shape.rows, shape.cols}, scheme, bytes};
    for (const int64_t n : tokens) check(weights, n, 32, [](int64_t, int64_t) { return 0.0; });
  }
};

TEST_P(E8Kernel, RandomPoints) {
  check_random({33, 416}, 0, {1, 2, 21});
  check_random({205, 200}, 64, {1, 16});
}

TEST_P(E8Kernel, EdgeShapes) {
  for (const int64_t rows : {1, 16, 17}) {
    for (const int64_t cols : {1, 7, 9, 31, 33, 64, 100, 288}) {
      check_random({rows, cols}, 32, {1, 5});
      check_random({rows, cols}, 0, {1, 16});
    }
  }
}

TEST_P(E8Kernel, EncodedWeights) {
  const Scheme scheme("e8", {{"group", 64}});
  const std::vector<std::byte> bytes = encode_normal(scheme, {40, 128});
  check({"w", {40, 128}, scheme, bytes}, 3, 32, [](int64_t, int64_t) { return 0.0; });
}

BITSMITH_EACH_TARGET(E8Kernel);

}  // namespace
}  // namespace bitsmith
