// ONNX's matrix products.
#include <algorithm>
#include <cstring>

#include "formats/onnx_lowering.h"

namespace bitsmith::onnx {
namespace {

// A constant matrix [rows, cols] as [cols, rows], its elements as they are.
Constant transposed(Lowering& node, const Constant& matrix) {
  const size_t bytes = element_bytes(matrix.type);
  const auto rows = static_cast<size_t>(matrix.shape[0]);
  const auto cols = static_cast<size_t>(matrix.shape[1]);
  Buffers::Buffer& buffer = node.buffers().add(matrix.bytes.size());
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) {
      std::memcpy(buffer.data() + (c * rows + r) * bytes,
                  matrix.bytes.data() + (r * cols + c) * bytes, bytes);
    }
  }
  return {matrix.type,
          {matrix.shape[1], matrix.shape[0]},
          std::string_view(reinterpret_cast<const char*>(buffer.data()), buffer.size())};
}

Constant scaled(Lowering& node, const Constant& constant, double factor) {
  if (factor == 1) return constant;
  std::vector<double> numbers = numbers_of(constant);
  for (double& x : numbers) x *= factor;
  return node.buffers().numbers(is_integer(constant.type) ? kFloat : constant.type, constant.shape,
                                numbers);
}

// Input i, a constant [K, N] (or [N, K] if `is_transposed`), as weight [N, K] times `factor`.
ValueId weight_of(Lowering& node, size_t i, bool is_transposed, double factor) {
  Constant weight = scaled(node, node.constant(i), factor);
  if (!is_transposed) weight = transposed(node, weight);
  return node.parameter(weight, node.node.inputs[i], "linear.weight");
}

bool is_weight(const Lowering& node, size_t i) {
  return node.is_constant(i) && node.shape(i).size() == 2 && node.constant(i).count() > 0;
}

ValueId swapped_last_axes(Lowering& node, std::string_view part, ValueId x) {
  std::vector<int64_t> order;
  const size_t rank = node.shape_of(x).size();
  for (size_t i = 0; i < rank; ++i) order.push_back(static_cast<int64_t>(i));
  if (rank < 2) node.corrupt("an operand has fewer than two extents");
  std::swap(order[rank - 1], order[rank - 2]);
  return ops::transpose(node.graph(), node.name(part), x, order);
}

// Vectors become matrices of one row or column; the extent goes from the result afterwards.
void lower_matmul(Lowering& node) {
  if (!node.is_constant(0) && node.shape(0).size() >= 2 && is_weight(node, 1)) {
    const ValueId x = node.value(0);
    node.set(ops::linear(node.graph(), node.name(), x, weight_of(node, 1, false, 1)));
    return;
  }
  ValueId a = node.value(0);
  ValueId b = node.value(1);
  const bool row = node.shape(0).size() == 1;
  const bool column = node.shape(1).size() == 1;
  if (row) a = ops::reshape(node.graph(), node.name("row"), a, {1, node.shape(0)[0]});
  if (column) b = ops::reshape(node.graph(), node.name("column"), b, {node.shape(1)[0], 1});
  if (!row && !column) {
    node.set(ops::matmul(node.graph(), node.name(), a, b));
    return;
  }
  const ValueId y = ops::matmul(node.graph(), node.name("product"), a, b);
  Shape shape = node.shape_of(y);
  if (column) shape.pop_back();
  if (row) shape.erase(shape.end() - (column ? 1 : 2));
  node.set(ops::reshape(node.graph(), node.name(), y, shape));
}

// C of Gemm as the bias [N] of a linear layer, times beta; nothing if it is no such constant.
std::optional<Constant> bias_of(Lowering& node, int64_t channels, double beta) {
  if (!node.is_constant(2)) return std::nullopt;
  const Constant& c = node.constant(2);
  const bool is_row = c.shape.size() <= 2 && c.count() == channels &&
                      (c.shape.empty() || c.shape.back() == channels);
  if (is_row) {
    Constant bias = scaled(node, c, beta);
    bias.shape = {channels};
    return bias;
  }
  if (c.count() != 1) return std::nullopt;
  const double x = numbers_of(c)[0] * beta;
  return node.buffers().numbers(kFloat, {channels},
                                std::vector<double>(static_cast<size_t>(channels), x));
}

// alpha * A' · B' + beta * C, where ' transposes if transA, transB say so.
void lower_gemm(Lowering& node) {
  const double alpha = node.number("alpha", 1);
  const double beta = node.number("beta", 1);
  const bool transpose_b = node.integer("transB", 0) != 0;
  if (node.shape(0).size() != 2 || node.shape(1).size() != 2) {
    node.corrupt("its operands are no matrices");
  }
  ValueId a = node.value(0);
  if (node.integer("transA", 0) != 0) a = swapped_last_axes(node, "transposed_a", a);
  const bool has_c = node.has(2);
  ValueId y = kNoValue;
  if (is_weight(node, 1)) {
    const ValueId weight = weight_of(node, 1, transpose_b, alpha);
    const std::optional<Constant> bias =
        has_c ? bias_of(node, node.shape_of(weight)[0], beta) : std::nullopt;
    if (bias || !has_c) {
      const ValueId b = bias ? node.parameter(*bias, node.node.inputs[2], "linear.bias") : kNoValue;
      node.set(ops::linear(node.graph(), node.name(), a, weight, b));
      return;
    }
    y = ops::linear(node.graph(), node.name("product"), a, weight);
  } else {
    ValueId b = node.value(1);
    if (transpose_b) b = swapped_last_axes(node, "transposed_b", b);
    y = ops::matmul(node.graph(), has_c || alpha != 1 ? node.name("product") : node.name(), a, b);
    if (alpha != 1) {
      y = ops::multiply(node.graph(), has_c ? node.name("scaled") : node.name(), y,
                        node.scalar(alpha));
    }
  }
  if (has_c) {
    ValueId c = node.value(2);
    if (beta != 1) c = ops::multiply(node.graph(), node.name("bias"), c, node.scalar(beta));
    y = ops::add(node.graph(), node.name(), y, c);
  }
  node.set(y);
}

const Rules kRules = {
    {"MatMul", lower_matmul},
    {"Gemm", lower_gemm},
};

}  // namespace
}  // namespace bitsmith::onnx
