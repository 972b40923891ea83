// The kernels for the codec `trellis` against their specification and the codec's decoder.
#include "codecs/trellis.h"

#include "runtime/kernels/codec_kernel_testing.h"

namespace bitsmith {
namespace {

class TrellisKernel : public CodecKernelTest {
 protected:
  // Random paths (all are valid), with scales that are numbers.
  static void check_random(const MatrixShape& shape, int bits, const std::string& code,
                           int64_t group, const std::vector<int64_t>& tokens) {
    const Scheme scheme("trellis", {{"bits", bits}, {"code", code}, {"group", group}});
    std::vector<std::byte> bytes(scheme.codec->encoded_bytes(shape, scheme.options));
    const auto scales = static_cast<size_t>(TrellisLayout(shape, bits, group).scales_offset);
    Random random(static_cast<uint64_t>(shape.rows * bits));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
    for (size_t i = scales + 1; i < bytes.size(); i += 2) bytes[i] = std::byte{0x2c};
    const CodedTensor weights{"w", {shape.rows, shape.cols}, scheme, bytes};
    for (const int64_t n : tokens) check(weights, n, 32, [](int64_t, int64_t) { return 0.0; });
  }
};

TEST_P(TrellisKernel, EveryCodeAndWidth) {
  for (const std::string code : {"3inst", "mcg", "mul1", "lookup"}) {
    for (int bits = 1; bits <= 4; ++bits) {
      check_random({33, 544}, bits, code, 256, {1, 2, 17});
    }
  }
}

// Several streams of panels, and panels that are left over.
TEST_P(TrellisKernel, ManyPanels) {
  check_random({205, 320}, 2, "mul1", 0, {1});
  check_random({205, 320}, 4, "lookup", 0, {1});
  check_random({205, 320}, 3, "3inst", 0, {1});
}

TEST_P(TrellisKernel, EdgeShapes) {
  for (const int64_t rows : {1, 16, 17}) {
    for (const int64_t cols : {1, 31, 33, 255, 256, 257, 300}) {
      check_random({rows, cols}, 2, "mul1", 0, {1, 5});
      check_random({rows, cols}, 3, "lookup", 256, {1, 5});
      check_random({rows, cols}, 3, "3inst", 256, {1, 16});
    }
  }
}

TEST_P(TrellisKernel, EncodedWeights) {
  const Scheme scheme("trellis", {{"bits", 2}});
  const std::vector<std::byte> bytes = encode_normal(scheme, {17, 288});
  check({"w", {17, 288}, scheme, bytes}, 3, 32, [](int64_t, int64_t) { return 0.0; });
}

BITSMITH_EACH_TARGET(TrellisKernel);

}  // namespace
}  // namespace bitsmith
