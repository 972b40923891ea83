#include "reference/matrix_inputs.h"

#include <gtest/gtest.h>

#include "graph/operators.h"
#include "reference/executor.h"

namespace bitsmith {
namespace {

// What a convolution computes, from its patches.
void expect_products(const Shape& input, const Shape& weight, const ops::Window& window,
                     int64_t groups) {
  SCOPED_TRACE(to_string(weight));
  Graph graph;
  const ValueId x = graph.add_input("x", input);
  const ValueId w = graph.add_parameter("w", weight, "conv.weight");
  const ValueId y = ops::conv(graph, "y", x, w, kNoValue, window, groups);
  graph.outputs = {y};
  at::manual_seed(1);
  Environment values(graph.values.size());
  values[static_cast<size_t>(x)] = at::randn(input);
  const at::Tensor matrix = at::randn(weight);
  run_reference(graph, 0, 1, [&](ValueId) { return matrix; }, values, {x});
  const Node& node = graph.nodes[0];
  const at::Tensor rows = matrix_inputs(node, weight, values[static_cast<size_t>(x)]);
  const at::Tensor expected = output_rows(node, values[static_cast<size_t>(y)]);
  ASSERT_EQ(rows.size(0), expected.size(0));
  EXPECT_EQ(rows.size(1), groups);
  // float32 sums of at most 100 products of numbers of size 1.
  EXPECT_LT((matrix_products(rows, matrix) - expected).abs().max().item<float>(), 1e-4);
}

TEST(MatrixInputs, AreThePatchesOfConvolutions) {
  expect_products({2, 6, 7, 5}, {4, 6, 3, 3}, {{1, 1}, {1, 1}, {1, 1, 1, 1}}, 1);
  expect_products({2, 6, 7, 5}, {4, 3, 3, 2}, {{2, 1}, {1, 2}, {0, 1, 2, 0}}, 2);
  expect_products({1, 6, 7, 5}, {6, 1, 3, 3}, {{1, 1}, {1, 1}, {1, 1, 1, 1}}, 6);
  expect_products({2, 3, 9}, {5, 3, 4}, {{2}, {1}, {1, 0}}, 1);
  expect_products({1, 2, 4, 5, 3}, {3, 2, 2, 2, 3}, {{1, 1, 1}, {1, 1, 1}, {0, 1, 0, 0, 0, 1}}, 1);
}

TEST(MatrixInputs, AreTheChannelsOfLinearLayers) {
  Node node;
  node.op = "linear";
  const at::Tensor x = at::randn({2, 3, 5});
  const at::Tensor w = at::randn({4, 5});
  const at::Tensor rows = matrix_inputs(node, {4, 5}, x);
  EXPECT_EQ(rows.sizes(), (at::IntArrayRef{6, 1, 5}));
  EXPECT_TRUE(at::allclose(matrix_products(rows, w), at::matmul(x, w.t()).flatten(0, -2)));
}

}  // namespace
}  // namespace bitsmith
