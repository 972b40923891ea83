// The kernels for planes of digits against their specification and the codecs' decoders.
#include "runtime/kernels/codec_kernel_testing.h"

namespace bitsmith {
namespace {

using nlohmann::json;

const std::vector<Scheme>& schemes() {
  static const std::vector<Scheme> all = {
      Scheme("ternary", json::object()),
      Scheme("ternary", {{"group", 0}}),
      Scheme("ternary", {{"group", 32}}),
      Scheme("binary", json::object()),
      Scheme("binary", {{"group", 64}, {"mean", true}}),
      Scheme("planes", {{"planes", 1}, {"digit", "bit"}, {"mean", true}}),
      Scheme("planes", {{"planes", 2}}),
      Scheme("planes", {{"planes", 2}, {"digit", "trit"}}),
      Scheme("planes", {{"planes", 3}, {"digit", "bit"}, {"group", 64}}),
      Scheme("planes", {{"planes", 3}, {"digit", "trit"}, {"mean", true}}),
      Scheme("planes", {{"planes", 4}, {"mean", true}}),
      Scheme("planes", {{"planes", 4}, {"digit", "trit"}})};
  return all;
}

class DigitKernel : public CodecKernelTest {
 protected:
  static void check_scheme(const Scheme& scheme, const MatrixShape& shape,
                           const std::vector<int64_t>& tokens) {
    const std::vector<std::byte> bytes = encode_normal(scheme, shape);
    const CodedTensor weights{"w", {shape.rows, shape.cols}, scheme, bytes};
    // A sum of planes is several products, each rounded, of which the largest may cancel.
    const std::vector<float> w = weights.decode_all();
    float largest = 0;
    for (const float weight : w) largest = std::max(largest, std::abs(weight));
    const double error = static_cast<double>(largest) * 0x1p-18;
    for (const int64_t n : tokens) {
      check(weights, n, 32, [&](int64_t, int64_t) { return error; });
    }
  }
};

TEST_P(DigitKernel, EveryScheme) {
  for (const Scheme& scheme : schemes()) check_scheme(scheme, {33, 416}, {1, 2, 21});
}

// Several streams of panels, and panels that are left over.
TEST_P(DigitKernel, ManyPanels) {
  for (const Scheme& scheme : schemes()) check_scheme(scheme, {205, 70}, {1});
}

// Every number of vectors of trits per group, and matrices that end with their last vector.
TEST_P(DigitKernel, EdgeShapes) {
  for (const int64_t rows : {1, 16, 17}) {
    for (const int64_t cols : {1, 5, 20, 31, 33, 64, 100, 128, 160, 161, 192, 288}) {
      for (const int64_t tokens : {1, 5, 16}) {
        check_scheme(schemes()[0], {rows, cols}, {tokens});
        check_scheme(schemes()[4], {rows, cols}, {tokens});
        check_scheme(schemes()[7], {rows, cols}, {tokens});
      }
    }
  }
}

// Bytes from 243 up, which no encoder writes, are not read beyond tables.
TEST_P(DigitKernel, HostileTrits) {
  const Scheme scheme("ternary", {{"group", 0}});
  std::vector<std::byte> bytes = encode_normal(scheme, {16, 160});
  for (size_t i = 0; i < 8 * 64; ++i) bytes[i] = static_cast<std::byte>(255 - i % 20);
  const CodedTensor weights{"w", {16, 160}, scheme, bytes};
  for (const int64_t tokens : {1, 4}) {
    for (const float y : multiply(weights, std::vector<float>(tokens * 160, 1.0F), tokens, 1)) {
      EXPECT_TRUE(std::isfinite(y));
    }
  }
}

BITSMITH_EACH_TARGET(DigitKernel);

TEST(DigitKernelFallback, TwoScalesAndShortGroups) {
  for (const Scheme& scheme :
       {Scheme("ternary", {{"symmetric", false}}), Scheme("binary", {{"group", 16}})}) {
    const std::vector<std::byte> bytes = encode_normal(scheme, {17, 80});
    const auto kernel = make_linear_kernel({"w", {17, 80}, scheme, bytes});
    EXPECT_TRUE(kernel->name().starts_with("decoded")) << scheme.label();
  }
}

}  // namespace
}  // namespace bitsmith
