// The kernel of `ordered`: the inner codec's on an input in the same order, bit for bit.
#include <gtest/gtest.h>

#include "codecs/codec_testing.h"
#include "codecs/column_order.h"
#include "runtime/kernels/linear.h"

namespace bitsmith {
namespace {

TEST(OrderedKernel, MultipliesColumnsInOrder) {
  ThreadPool pool(2);
  const MatrixShape shape{37, 96};
  const Scheme inner("int", {{"bits", 4}, {"group", 32}, {"symmetric", true}});
  const Scheme scheme("ordered", {{"inner", inner.to_json().dump()}});
  std::vector<std::byte> bytes =
      testing::encode(scheme, shape, testing::normal_weights(37 * 96, 1), pool).bytes;
  const CodedTensor weights{"w", {37, 96}, scheme, bytes};
  const std::vector<uint32_t> order = column_order(96, bytes);
  const auto kernel = make_linear_kernel(weights);
  EXPECT_NE(kernel->name().find("in order"), std::string_view::npos);
  EXPECT_EQ(kernel->decoded_bytes(), 0U);
  const auto inner_kernel = make_linear_kernel({"w", {37, 96}, inner, ordered_bytes(96, bytes)});
  for (const int64_t tokens : {1, 5}) {
    const std::vector<float> x = testing::normal_weights(static_cast<size_t>(tokens * 96), 2);
    std::vector<float> moved;
    for (int64_t t = 0; t < tokens; ++t) {
      for (const uint32_t c : order) moved.push_back(x[static_cast<size_t>(t * 96) + c]);
    }
    std::vector<float> y(static_cast<size_t>(tokens * 37));
    std::vector<float> expected = y;
    Activations activations(x.data(), tokens, 96);
    Activations ordered(moved.data(), tokens, 96);
    kernel->multiply(activations, y.data(), 37, pool);
    inner_kernel->multiply(ordered, expected.data(), 37, pool);
    EXPECT_EQ(y, expected);
  }
  // An order that is none is decoded as the codec says.
  write_column_order(std::vector<uint32_t>(96, 3), bytes);
  EXPECT_EQ(make_linear_kernel(weights)->name(), make_decoding_kernel(weights)->name());
}

}  // namespace
}  // namespace bitsmith
