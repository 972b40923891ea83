// ONNX operators that compute, on constants: shape arithmetic, and what exporters left unfolded.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "formats/onnx_lowering.h"

namespace bitsmith::onnx {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 24;  // of a computed constant

bool is_mark(int64_t x) { return x == kBatchMark || x == kUnknownMark; }

// For each element of the broadcast shape, the element of an operand that belongs to it.
std::vector<uint32_t> broadcast_indices(const Shape& from, const Shape& to, size_t count) {
  std::vector<uint32_t> indices(count, 0);
  size_t run = 1;     // elements of `to` within one step of the axis
  size_t stride = 1;  // elements of `from` within one step of the axis
  for (size_t i = 0; i < from.size(); ++i) {
    const auto extent = static_cast<size_t>(from[from.size() - 1 - i]);
    const auto target = static_cast<size_t>(to[to.size() - 1 - i]);
    if (extent != 1) {
      for (size_t k = 0; k < count; ++k) {
        indices[k] += static_cast<uint32_t>(k / run % target * stride);
      }
    }
    run *= target;
    stride *= extent;
  }
  return indices;
}

Shape broadcast_shape(const Lowering& node, const Shape& a, const Shape& b) {
  Shape shape = a.size() >= b.size() ? a : b;
  const Shape& other = a.size() >= b.size() ? b : a;
  for (size_t i = 0; i < other.size(); ++i) {
    int64_t& extent = shape[shape.size() - 1 - i];
    const int64_t own = other[other.size() - 1 - i];
    if (extent != own && extent != 1 && own != 1) {
      node.corrupt(fmt::format("{} and {} do not broadcast", to_string(a), to_string(b)));
    }
    if (extent == 1) extent = own;
  }
  return shape;
}

// The count of a computed result, bounded before anything is allocated.
size_t result_count(const Lowering& node, const Shape& shape) {
  const std::optional<int64_t> count = element_count(shape);
  if (!count || *count > kMaxElements) {
    node.unsupported(fmt::format("a constant of {} is too large to be computed", to_string(shape)));
  }
  return static_cast<size_t>(*count);
}

// Wrapping, as integers of the file do; no operation is undefined.
int64_t wrapped(uint64_t x) { return static_cast<int64_t>(x); }

int64_t compute_integer(const Lowering& node, int64_t a, int64_t b) {
  const std::string_view op = node.node.op;
  const auto x = static_cast<uint64_t>(a);
  const auto y = static_cast<uint64_t>(b);
  if (op == "Equal") return a == b;
  if (op == "Greater") return a > b;
  if (op == "Less") return a < b;
  if (op == "GreaterOrEqual") return a >= b;
  if (op == "LessOrEqual") return a <= b;
  if (is_mark(a) || is_mark(b)) {  // an extent that is not fixed
    const bool unchanged = (op == "Mul" && (a == 1 || b == 1)) || (op == "Div" && b == 1);
    return unchanged ? (is_mark(a) ? a : b) : kUnknownMark;
  }
  if (op == "Add" || op == "Sum") return wrapped(x + y);
  if (op == "Sub") return wrapped(x - y);
  if (op == "Mul") return wrapped(x * y);
  if (op == "Min") return std::min(a, b);
  if (op == "Max") return std::max(a, b);
  if (op == "And") return a != 0 && b != 0;
  if (op == "Or") return a != 0 || b != 0;
  if (op == "Div" || op == "Mod") {
    if (b == 0) node.corrupt("a division by 0");
    if (b == -1) return op == "Div" ? wrapped(0 - x) : 0;
    if (op == "Div") return a / b;
    const int64_t rest = a % b;  // takes the sign of b, or with fmod = 1 that of a
    return rest != 0 && node.integer("fmod", 0) == 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  }
  node.unsupported("it cannot be computed on integers");
}

double compute_number(const Lowering& node, double a, double b) {
  const std::string_view op = node.node.op;
  if (op == "Add" || op == "Sum") return a + b;
  if (op == "Sub") return a - b;
  if (op == "Mul") return a * b;
  if (op == "Div") return a / b;
  if (op == "Pow") return std::pow(a, b);
  if (op == "Min") return std::isnan(a) || a < b ? a : b;
  if (op == "Max") return std::isnan(a) || a > b ? a : b;
  if (op == "Mod") return std::fmod(a, b);
  if (op == "Equal") return a == b;
  if (op == "Greater") return a > b;
  if (op == "Less") return a < b;
  if (op == "GreaterOrEqual") return a >= b;
  if (op == "LessOrEqual") return a <= b;
  node.unsupported("it cannot be computed on these numbers");
}

Constant combine(Lowering& node, const Constant& a, const Constant& b, bool truth) {
  const Shape shape = broadcast_shape(node, a.shape, b.shape);
  const size_t count = result_count(node, shape);
  const std::vector<uint32_t> of_a = broadcast_indices(a.shape, shape, count);
  const std::vector<uint32_t> of_b = broadcast_indices(b.shape, shape, count);
  const ElementType type = truth ? kBool : a.type;
  if (is_integer(a.type) && is_integer(b.type) && node.node.op != "Pow") {
    const std::vector<int64_t> x = integers_of(a);
    const std::vector<int64_t> y = integers_of(b);
    std::vector<int64_t> result(count);
    for (size_t i = 0; i < count; ++i) result[i] = compute_integer(node, x[of_a[i]], y[of_b[i]]);
    return node.buffers().integers(type, shape, result);
  }
  const std::vector<double> x = numbers_of(a);
  const std::vector<double> y = numbers_of(b);
  std::vector<double> result(count);
  for (size_t i = 0; i < count; ++i) result[i] = compute_number(node, x[of_a[i]], y[of_b[i]]);
  return node.buffers().numbers(type, shape, result);
}

void fold_binary(Lowering& node) {
  const auto rule = rules().find(node.node.op);
  const bool aligns = node.opset() < 7 && node.integer("broadcast", 0) != 0;
  if (aligns && rule != rules().end()) return rule->second(node);
  node.set(combine(node, node.constant(0), node.constant(1), false));
}
void fold_comparison(Lowering& node) {
  node.set(combine(node, node.constant(0), node.constant(1), true));
}
void fold_variadic(Lowering& node) {
  Constant y = node.constant(0);
  for (size_t i = 1; i < node.inputs(); ++i) y = combine(node, y, node.constant(i), false);
  node.set(y);
}

double compute_unary(const Lowering& node, double x) {
  const std::string_view op = node.node.op;
  if (op == "Neg") return -x;
  if (op == "Abs") return std::abs(x);
  if (op == "Sqrt") return std::sqrt(x);
  if (op == "Exp") return std::exp(x);
  if (op == "Log") return std::log(x);
  if (op == "Floor") return std::floor(x);
  if (op == "Ceil") return std::ceil(x);
  if (op == "Round") return std::nearbyint(x);
  if (op == "Reciprocal") return 1 / x;
  if (op == "Sin") return std::sin(x);
  if (op == "Cos") return std::cos(x);
  if (op == "Erf") return std::erf(x);
  if (op == "Tanh") return std::tanh(x);
  if (op == "Not") return x == 0;
  node.unsupported("it cannot be computed on constants");
}

void fold_unary(Lowering& node) {
  const Constant& x = node.constant(0);
  result_count(node, x.shape);
  if (is_integer(x.type)) {
    std::vector<int64_t> integers = integers_of(x);
    for (int64_t& i : integers) {
      if (is_mark(i)) {
        i = kUnknownMark;
      } else if (node.node.op == "Neg" || (node.node.op == "Abs" && i < 0)) {
        i = wrapped(0 - static_cast<uint64_t>(i));
      } else if (node.node.op == "Not") {
        i = i == 0;
      } else if (node.node.op != "Abs") {
        node.unsupported("it cannot be computed on integers");
      }
    }
    return node.set(node.buffers().integers(x.type, x.shape, integers));
  }
  std::vector<double> numbers = numbers_of(x);
  for (double& number : numbers) number = compute_unary(node, number);
  node.set(node.buffers().numbers(x.type, x.shape, numbers));
}

void fold_cast(Lowering& node) {
  const Constant& x = node.constant(0);
  const auto to =
      node.node.op == "CastLike" ? node.type(1) : static_cast<ElementType>(node.integer("to", 0));
  if (!is_number(to)) node.unsupported("a cast to " + element_type_name(to));
  if (to == x.type) return node.set(x);
  if (is_integer(x.type) && is_integer(to)) {
    return node.set(node.buffers().integers(to, x.shape, integers_of(x)));
  }
  node.set(node.buffers().numbers(to, x.shape, numbers_of(x)));
}

void fold_where(Lowering& node) {
  const Constant& condition = node.constant(0);
  const Constant& a = node.constant(1);
  const Constant& b = node.constant(2);
  const Shape shape =
      broadcast_shape(node, condition.shape, broadcast_shape(node, a.shape, b.shape));
  const size_t count = result_count(node, shape);
  const std::vector<int64_t> truth = integers_of(condition);
  const std::vector<uint32_t> of_c = broadcast_indices(condition.shape, shape, count);
  const std::vector<uint32_t> of_a = broadcast_indices(a.shape, shape, count);
  const std::vector<uint32_t> of_b = broadcast_indices(b.shape, shape, count);
  const auto pick = [&](const auto& x, const auto& y) {
    auto result = x;
    result.resize(count);
    for (size_t i = 0; i < count; ++i) result[i] = truth[of_c[i]] != 0 ? x[of_a[i]] : y[of_b[i]];
    return result;
  };
  node.set(is_integer(a.type)
               ? node.buffers().integers(a.type, shape, pick(integers_of(a), integers_of(b)))
               : node.buffers().numbers(a.type, shape, pick(numbers_of(a), numbers_of(b))));
}

void fold_constant_of_shape(Lowering& node) {
  const std::vector<int64_t> extents = node.integers(0);
  for (const int64_t extent : extents) {
    if (is_mark(extent)) node.unsupported("a constant whose extent is not fixed");
    if (extent < 0) node.corrupt(fmt::format("an extent of {}", extent));
  }
  const size_t count = result_count(node, extents);
  const Attribute* value = node.attribute("value");
  if (value == nullptr) {
    return node.set(node.buffers().numbers(kFloat, extents, std::vector<double>(count, 0)));
  }
  const Constant one{value->tensor.type, value->tensor.shape, value->tensor.bytes()};
  if (!is_number(one.type) || one.bytes.size() != element_bytes(one.type)) {
    node.corrupt("'value' is no single number");
  }
  node.set(is_integer(one.type)
               ? node.buffers().integers(one.type, extents,
                                         std::vector<int64_t>(count, integers_of(one)[0]))
               : node.buffers().numbers(one.type, extents,
                                        std::vector<double>(count, numbers_of(one)[0])));
}

void fold_range(Lowering& node) {
  std::vector<double> given;
  for (size_t i = 0; i < 3; ++i) {
    const Constant& x = node.constant(i);
    if (x.count() != 1) node.corrupt("its inputs are no single numbers");
    if (is_integer(x.type) && is_mark(integers_of(x)[0])) {
      node.unsupported("a range whose end is not fixed");
    }
    given.push_back(numbers_of(x)[0]);
  }
  const double steps = std::ceil((given[1] - given[0]) / given[2]);
  if (!(steps < 0x1p24)) node.unsupported("so long a range");
  const auto count = static_cast<int64_t>(std::max(steps, 0.0));
  std::vector<double> result;
  for (int64_t i = 0; i < count; ++i)
    result.push_back(given[0] + static_cast<double>(i) * given[2]);
  node.set(node.buffers().numbers(node.type(0), {count}, result));
}

// All elements to one: what shape arithmetic needs. Of small constants: a large one that costs
// nothing to name could be read by every node of a file.
void fold_reduce(Lowering& node) {
  const Constant& x = node.constant(0);
  const std::vector<int64_t> axes = node.integers("axes", 1).value_or(std::vector<int64_t>{});
  constexpr int64_t kMost = 1 << 16;
  const bool is_whole = axes.empty() || x.shape.size() <= 1;
  if (!is_integer(x.type) || x.count() == 0 || x.count() > kMost || !is_whole) {
    const auto rule = rules().find(node.node.op);
    if (rule == rules().end()) node.unsupported("it cannot be computed on this constant");
    return rule->second(node);
  }
  const std::vector<int64_t> integers = integers_of(x);
  int64_t y = integers[0];
  for (size_t i = 1; i < integers.size(); ++i) {
    const int64_t z = integers[i];
    if (is_mark(y) || is_mark(z)) {
      y = kUnknownMark;
    } else if (node.node.op == "ReduceProd") {
      y = wrapped(static_cast<uint64_t>(y) * static_cast<uint64_t>(z));
    } else if (node.node.op == "ReduceSum") {
      y = wrapped(static_cast<uint64_t>(y) + static_cast<uint64_t>(z));
    } else {
      y = node.node.op == "ReduceMax" ? std::max(y, z) : std::min(y, z);
    }
  }
  const bool keep = node.integer("keepdims", 1) != 0;
  node.set(node.buffers().integers(x.type, keep ? Shape(x.shape.size(), 1) : Shape{}, {y}));
}

// Which scale belongs to an element of x: one for all, one for each position on `axis`, or one for
// each `block_size` positions on it.
struct ScaleIndex {
  int64_t run = 1;       // elements after the axis
  int64_t extent = 1;    // of the axis
  int64_t block = 1;     // positions that share a scale
  int64_t of_axis = 1;   // scales along the axis
  bool per_run = false;  // blocks: one for each position of all axes

  size_t operator()(int64_t i) const {
    const int64_t position = i / run % extent / block;
    if (!per_run) return static_cast<size_t>(position);
    return static_cast<size_t>((i / run / extent * of_axis + position) * run + i % run);
  }
};

ScaleIndex scale_index(const Lowering& node, const Shape& x, const Shape& scale) {
  const int64_t block = node.integer("block_size", 0);
  ScaleIndex index;
  if (block == 0 && *element_count(scale) == 1) return index;
  const size_t axis = node.axis(node.integer("axis", 1), x.size());
  index.run = std::max<int64_t>(1, *element_count(std::span(x).subspan(axis + 1)));
  index.extent = std::max<int64_t>(1, x[axis]);
  Shape expected = {x[axis]};
  if (block != 0) {
    if (block < 0) node.corrupt(fmt::format("a block_size of {}", block));
    index.block = block;
    index.of_axis = index.extent / block + (index.extent % block != 0 ? 1 : 0);
    index.per_run = true;
    expected = x;
    expected[axis] = index.of_axis;
  }
  if (scale != expected) node.corrupt("scales do not fit the tensor");
  return index;
}

// (q - zero point) * scale: quantized weights become numbers.
void fold_dequantize_linear(Lowering& node) {
  const Constant& q = node.constant(0);
  const ScaleIndex index = scale_index(node, q.shape, node.constant(1).shape);
  const std::vector<double> scale = numbers_of(node.constant(1));
  std::vector<double> zero_point(scale.size(), 0);
  if (node.has(2)) zero_point = numbers_of(node.constant(2));
  if (zero_point.size() != scale.size()) node.corrupt("zero points do not fit the scales");
  Buffers::Buffer& buffer = node.buffers().add(static_cast<uint64_t>(q.count()) * sizeof(float));
  const std::vector<double> codes = numbers_of(q);
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t at = index(static_cast<int64_t>(i));
    const auto x = static_cast<float>((codes[i] - zero_point[at]) * scale[at]);
    std::memcpy(buffer.data() + i * sizeof(float), &x, sizeof(float));
  }
  node.set({kFloat, q.shape,
            std::string_view(reinterpret_cast<const char*>(buffer.data()), buffer.size())});
}

const FoldRules kRules = {
    {"Add", fold_binary},
    {"Sub", fold_binary},
    {"Mul", fold_binary},
    {"Div", fold_binary},
    {"Mod", fold_binary},
    {"Pow", fold_binary},
    {"And", fold_binary},
    {"Or", fold_binary},
    {"Min", fold_variadic},
    {"Max", fold_variadic},
    {"Sum", fold_variadic},
    {"Equal", fold_comparison},
    {"Greater", fold_comparison},
    {"Less", fold_comparison},
    {"GreaterOrEqual", fold_comparison},
    {"LessOrEqual", fold_comparison},
    {"Neg", fold_unary},
    {"Abs", fold_unary},
    {"Sqrt", fold_unary},
    {"Exp", fold_unary},
    {"Log", fold_unary},
    {"Floor", fold_unary},
    {"Ceil", fold_unary},
    {"Round", fold_unary},
    {"Reciprocal", fold_unary},
    {"Sin", fold_unary},
    {"Cos", fold_unary},
    {"Erf", fold_unary},
    {"Tanh", fold_unary},
    {"Not", fold_unary},
    {"Cast", fold_cast},
    {"CastLike", fold_cast},
    {"Where", fold_where},
    {"ConstantOfShape", fold_constant_of_shape},
    {"Range", fold_range},
    {"ReduceProd", fold_reduce},
    {"ReduceSum", fold_reduce},
    {"ReduceMax", fold_reduce},
    {"ReduceMin", fold_reduce},
    {"DequantizeLinear", fold_dequantize_linear},
};

}  // namespace
}  // namespace bitsmith::onnx
