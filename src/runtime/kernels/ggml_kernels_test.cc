// The kernels for ggml's blocks against their specification and the codecs' decoders.
#include "runtime/kernels/codec_kernel_testing.h"

namespace bitsmith {
namespace {

class GgmlKernel : public CodecKernelTest {
 protected:
  static int64_t sub_cols(const std::string& id) {
    return id == "q2_k" || id == "q3_k" || id == "q6_k" ? 16 : 32;
  }

  // Any codes and factors, with binary16 that are numbers.
  static void check_random(const std::string& id, const MatrixShape& shape,
                           const std::vector<int64_t>& tokens) {
    const Scheme scheme(id, nlohmann::json::object());
    std::vector<std::byte> bytes(scheme.codec->encoded_bytes(shape, scheme.options));
    Random random(static_cast<uint64_t>(shape.rows));
    for (size_t i = 0; i < bytes.size(); i += 2) {
      // Of a binary16 below 1; as a code or factor anything but two bits of it.
      bytes[i] = static_cast<std::byte>(random.next());
      if (i + 1 < bytes.size()) bytes[i + 1] = static_cast<std::byte>(random.next() & 0xbb);
    }
    const CodedTensor weights{"w", {shape.rows, shape.cols}, scheme, bytes};
    for (const int64_t n : tokens) {
      check(weights, n, sub_cols(id), [](int64_t, int64_t) { return 0.0; });
    }
  }

  static void check_encoded(const std::string& id, const MatrixShape& shape, int64_t tokens) {
    const Scheme scheme(id, nlohmann::json::object());
    const std::vector<std::byte> bytes = encode_normal(scheme, shape);
    check({"w", {shape.rows, shape.cols}, scheme, bytes}, tokens, sub_cols(id),
          [](int64_t, int64_t) { return 0.0; });
  }
};

TEST_P(GgmlKernel, BlocksOf32) {
  for (const std::string id : {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0"}) {
    check_random(id, {33, 96}, {1, 2, 21});
    check_random(id, {1, 32}, {1, 5});
    check_encoded(id, {170, 160}, 3);
  }
}

TEST_P(GgmlKernel, KQuants) {
  for (const std::string id : {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k"}) {
    check_random(id, {33, 512}, {1, 2, 21});
    check_random(id, {1, 256}, {1, 5});
    check_encoded(id, {170, 256}, 3);
  }
}

// Panels side by side that are not neighbours.
TEST_P(GgmlKernel, ManyPanels) {
  for (const std::string id : {"q4_0", "q4_k", "q6_k"}) check_random(id, {330, 256}, {1});
}

BITSMITH_EACH_TARGET(GgmlKernel);

TEST(GgmlKernels, MakeWhatTheyGaveBackAgain) {
  const Scheme scheme("q4_k", nlohmann::json::object());
  const std::vector<std::byte> bytes = encode_normal(scheme, {40, 256});
  const CodedTensor weights{"w", {40, 256}, scheme, bytes};
  const auto kernel = make_linear_kernel(weights);
  EXPECT_EQ(kernel->rearranged_bytes(), 0U);
  const std::vector<float> x(256, 0.5F);
  std::vector<float> first(40);
  std::vector<float> second(40);
  ThreadPool pool(2);
  Activations activations(x.data(), 1, 256);
  kernel->multiply(activations, first.data(), 40, pool);
  EXPECT_GE(kernel->rearranged_bytes(), bytes.size());
  kernel->release();
  EXPECT_EQ(kernel->rearranged_bytes(), 0U);
  kernel->multiply(activations, second.data(), 40, pool);
  EXPECT_EQ(first, second);
}

TEST(GgmlKernels, WhatIsLeftToTheDecoder) {
  for (const std::string id : {"tq1_0", "tq2_0", "iq4_nl", "iq4_xs", "mxfp4_ggml", "nvfp4_ggml"}) {
    const Scheme scheme(id, nlohmann::json::object());
    const std::vector<std::byte> bytes = encode_normal(scheme, {16, 256});
    const CodedTensor weights{"w", {16, 256}, scheme, bytes};
    EXPECT_TRUE(make_linear_kernel(weights)->name().starts_with("decoded")) << id;
  }
}

}  // namespace
}  // namespace bitsmith
