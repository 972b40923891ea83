// The graph's matrix products as ONNX's.
#include <bit>
#include <cmath>
#include <numbers>

#include "formats/onnx_raising.h"

namespace bitsmith::onnx {
namespace {

int64_t linear_opset(const ExportState& state, const Node& node) {
  const WeightForm form = state.weight_form(node);
  const bool new_form = form.type == kInt4 || form.type == kUint4 || form.block > 0;
  return new_form ? 21 : kBaseOpset;
}

// Gemm takes matrices only.
void raise_linear(Raising& node) {
  const WeightForm form = node.state().weight_form(node.node);
  std::vector<std::string> inputs = {node.input(0), node.state().weight(node.node, form)};
  if (node.shape(0).size() == 2) {
    if (node.has(2)) inputs.push_back(node.state().bias(node.node, form));
    node.set("Gemm", inputs, {attribute("transB", int64_t{!form.transposed})});
  } else if (node.has(2)) {
    const std::string product = node.step("product", "MatMul", inputs);
    node.set("Add", {product, node.input(2)});
  } else {
    node.set("MatMul", inputs);
  }
}

void raise_matmul(Raising& node) { node.set("MatMul", {node.input(0), node.input(1)}); }

// The rotation of n channels, [n, n]; graph/operators_matrix.h defines it.
std::vector<double> hadamard_matrix(const std::vector<float>& signs, bool inverse) {
  const size_t n = signs.size();
  const size_t power = size_t{1} << std::countr_zero(n);
  const size_t m = n / power;
  std::vector<double> matrix(n * n);
  const double size = 1 / std::sqrt(static_cast<double>(n));
  for (size_t r = 0; r < n; ++r) {
    for (size_t c = 0; c < n; ++c) {
      const size_t turn = (r / power) * (c / power) % m;
      const double t = 2 * std::numbers::pi * static_cast<double>(turn) / static_cast<double>(m);
      const bool odd = std::popcount((r % power) & (c % power)) % 2 != 0;
      const double s = (std::cos(t) + std::sin(t)) * (odd ? -size : size);
      matrix[r * n + c] = s * static_cast<double>(inverse ? signs[c] : signs[r]);
    }
  }
  return matrix;
}

// A product with the matrix, for each run of channels.
void raise_hadamard(Raising& node) {
  constexpr int64_t kMaxRun = 8192;  // its matrix has 256 MB
  const int64_t n = node.shape(1)[0];
  if (n > kMaxRun) node.unsupported(fmt::format("a rotation of {} channels", n));
  const std::string matrix = node.constant(
      "matrix", {n, n}, hadamard_matrix(node.numbers(1), node.node.integer("inverse") != 0));
  const Shape& x = node.shape(0);
  if (x.back() == n) return node.set("MatMul", {node.input(0), matrix});
  std::vector<int64_t> parted(x.size() - 1, 0);  // 0: as it is
  parted.push_back(x.back() / n);
  parted.push_back(n);
  std::vector<int64_t> joined(x.size() - 1, 0);
  joined.push_back(x.back());
  const std::string runs =
      node.step("runs", "Reshape", {node.input(0), node.integers("parted", parted)});
  const std::string rotated = node.step("rotated", "MatMul", {runs, matrix});
  node.set("Reshape", {rotated, node.integers("joined", joined)});
}

const RaiseRules kRules = {
    {"linear", raise_linear, linear_opset},
    {"matmul", raise_matmul},
    {"hadamard", raise_hadamard},
};

}  // namespace
}  // namespace bitsmith::onnx
