#include "graph/operators_matrix.h"

#include "graph/infer.h"

namespace bitsmith {
namespace {

using namespace infer;

Shape infer_linear(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 3, 1);
  const Shape& weight = parameter_shape(graph, node, 1, 2);
  expect_equal(node, "the input's last extent", weight[1], last_extent(graph, node, 0));
  expect_vector(graph, node, 2, weight[0]);
  Shape shape = input_shape(graph, node, 0);
  shape.back() = weight[0];
  return shape;
}

Shape infer_matmul(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2);
  const Shape& a = input_shape(graph, node, 0);
  const Shape& b = input_shape(graph, node, 1);
  if (a.size() < 2 || b.size() < 2 || a.back() != b[b.size() - 2]) {
    misfit(node, fmt::format("{} · {} is no matrix product", to_string(a), to_string(b)));
  }
  Shape shape = broadcast(node, Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
  shape.push_back(a[a.size() - 2]);
  shape.push_back(b.back());
  return shape;
}

Shape infer_hadamard(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2);
  const int64_t run = parameter_shape(graph, node, 1, 1)[0];
  const int64_t channels = last_extent(graph, node, 0);
  if (run < 1 || channels % run != 0) {
    misfit(node, fmt::format("{} channels are no multiple of the {} signs", channels, run));
  }
  constexpr int64_t kMaxOdd = 512;  // executors hold a matrix of its square
  if ((run & -run) < ceil_div(run, kMaxOdd)) {
    misfit(node, fmt::format("{} signs have an odd factor above {}", run, kMaxOdd));
  }
  const int64_t inverse = node.integer("inverse");
  if (inverse != 0 && inverse != 1) misfit(node, "'inverse' must be 0 or 1");
  return input_shape(graph, node, 0);
}

struct OperatorTable {
  OperatorTable() {
    register_operator("linear", "matrix product with a weight, and a bias", true, infer_linear);
    register_operator("hadamard", "randomised Hadamard rotation of runs of channels", true,
                      infer_hadamard);
    register_operator("matmul", "matrix products of two tensors", false, infer_matmul);
  }
};
const OperatorTable table;

}  // namespace

namespace ops {

ValueId linear(Graph& graph, std::string name, ValueId x, ValueId weight, ValueId bias) {
  return graph.add_node("linear", std::move(name), {x, weight, bias});
}

ValueId matmul(Graph& graph, std::string name, ValueId a, ValueId b) {
  return graph.add_node("matmul", std::move(name), {a, b});
}

ValueId hadamard(Graph& graph, std::string name, ValueId x, ValueId signs, bool inverse) {
  return graph.add_node("hadamard", std::move(name), {x, signs},
                        {{"inverse", static_cast<int64_t>(inverse)}});
}

}  // namespace ops
}  // namespace bitsmith
