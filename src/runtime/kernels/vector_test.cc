// The kernels for vector codebooks against their specification and the codec's decoder.
#include "codecs/vector_matrix.h"

#include "runtime/kernels/codec_kernel_testing.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

using nlohmann::json;

class VectorKernel : public CodecKernelTest {
 protected:
  // Entries are rounded to the largest of all / 127.
  static void check_scheme(const Scheme& scheme, const MatrixShape& shape,
                           const std::vector<int64_t>& tokens) {
    const std::vector<std::byte> bytes = encode_normal(scheme, shape);
    const CodedTensor weights{"w", {shape.rows, shape.cols}, scheme, bytes};
    const auto matrix =
        dynamic_cast<const BlockCodec&>(*scheme.codec).vector_matrix(shape, scheme.options, bytes);
    ASSERT_TRUE(matrix);
    double largest = 0;
    for (const auto& entries : matrix->codebooks) {
      for (const float e : entries) largest = std::max(largest, std::abs(static_cast<double>(e)));
    }
    const auto error = [&](int64_t row, int64_t col) {
      double scale = 1;
      if (matrix->layout.parameter_count() > 0) {
        const uint32_t pattern =
            matrix->layout.read_parameter(reinterpret_cast<const uint8_t*>(bytes.data()), row,
                                          col / (matrix->layout.group_cols * matrix->dim), 0);
        scale = f16_to_float(static_cast<uint16_t>(pattern));
      }
      return scale * largest / 253 * static_cast<double>(matrix->codebooks.size());
    };
    for (const int64_t n : tokens) check(weights, n, 32, error);
  }
};

TEST_P(VectorKernel, EveryShapeOfBlocks) {
  check_scheme(Scheme("vector", json::object()), {33, 208}, {1, 2, 21});
  check_scheme(Scheme("vector", {{"dim", 2}, {"scaled", true}, {"group", 64}}), {33, 208}, {1, 17});
  check_scheme(Scheme("vector", {{"dim", 8}, {"stages", 2}}), {33, 208}, {1, 17});
  check_scheme(Scheme("vector", {{"dim", 8}, {"stages", 4}, {"scaled", true}}), {20, 96}, {1, 2});
}

// Several streams of panels, and panels that are left over.
TEST_P(VectorKernel, ManyPanels) { check_scheme(Scheme("vector", json::object()), {205, 70}, {1}); }

TEST_P(VectorKernel, EdgeShapes) {
  for (const int64_t rows : {1, 16, 17}) {
    for (const int64_t cols : {1, 5, 31, 33, 64, 100, 288}) {
      for (const int64_t dim : {2, 8}) {
        check_scheme(Scheme("vector", {{"dim", dim}, {"scaled", true}, {"group", 32}}),
                     {rows, cols}, {1, 5});
      }
    }
  }
}

BITSMITH_EACH_TARGET(VectorKernel);

TEST(VectorKernelFallback, OtherIndicesAndProducts) {
  for (const Scheme& scheme : {Scheme("vector", {{"bits", 6}}), Scheme("vector", {{"dim", 3}}),
                               Scheme("vector", {{"scope", "position"}}),
                               Scheme("vector", {{"dim", 2}, {"stages", 2}})}) {  // 8 bits a weight
    const std::vector<std::byte> bytes = encode_normal(scheme, {17, 72});
    const auto kernel = make_linear_kernel({"w", {17, 72}, scheme, bytes});
    EXPECT_TRUE(kernel->name().starts_with("decoded")) << scheme.label();
  }
}

}  // namespace
}  // namespace bitsmith
