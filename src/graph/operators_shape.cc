#include "graph/operators_shape.h"

#include <algorithm>

#include "graph/infer.h"

namespace bitsmith {
namespace {

using namespace infer;

constexpr int64_t kMaxExtent = int64_t{1} << 40;
constexpr size_t kMaxRank = 8;

// The attribute `shape`: at most kMaxRank extents, of which the first may be kBatch.
Shape shape_attribute(const Node& node) {
  const std::vector<int64_t>& shape = node.integers("shape");
  for (size_t i = 0; i < shape.size(); ++i) {
    const bool batch = i == 0 && shape[i] == kBatch;
    if (i >= kMaxRank || (!batch && (shape[i] < 1 || shape[i] > kMaxExtent))) {
      misfit(node, fmt::format("'shape' is {}", to_string(shape)));
    }
  }
  return shape;
}

// The product of the extents but a leading symbol; 0 if that cannot be told.
int64_t known_count(const Shape& shape) {
  const bool symbol = !shape.empty() && shape[0] < 0;
  return element_count(std::span(shape).subspan(symbol ? 1 : 0)).value_or(0);
}

Shape infer_reshape(const Graph& graph, const Node& node) {
  const Shape x = same_shape(graph, node);
  Shape shape = shape_attribute(node);
  const auto first = [](const Shape& s) { return !s.empty() && s[0] < 0 ? s[0] : 0; };
  if (first(x) != first(shape) || known_count(x) == 0 || known_count(x) != known_count(shape)) {
    misfit(node, fmt::format("{} cannot become {}", to_string(x), to_string(shape)));
  }
  return shape;
}

Shape infer_transpose(const Graph& graph, const Node& node) {
  const Shape x = same_shape(graph, node);
  const int64_t rank = static_cast<int64_t>(x.size());
  const auto& order = integers_attribute(node, "order", x.size(), 0, rank - 1);
  std::vector<bool> seen(x.size(), false);
  Shape shape;
  for (const int64_t axis : order) {
    if (seen[static_cast<size_t>(axis)]) misfit(node, fmt::format("axis {} comes twice", axis));
    seen[static_cast<size_t>(axis)] = true;
    shape.push_back(x[static_cast<size_t>(axis)]);
  }
  return shape;
}

Shape infer_concat(const Graph& graph, const Node& node) {
  if (node.inputs.empty()) misfit(node, "it has no inputs");
  expect_inputs(graph, node, node.inputs.size());
  Shape shape = input_shape(graph, node, 0);
  const size_t axis = axis_attribute(node, "axis", shape.size());
  int64_t sum = 0;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    Shape other = input_shape(graph, node, i);
    if (other.size() != shape.size() || other[axis] < 1 || other[axis] > kMaxExtent) {
      misfit(node, fmt::format("input {} is {}", i, to_string(other)));
    }
    sum += other[axis];
    other[axis] = shape[axis];
    if (other != shape) {
      misfit(node,
             fmt::format("input {} is {}, the first {}", i, to_string(input_shape(graph, node, i)),
                         to_string(input_shape(graph, node, 0))));
    }
  }
  shape[axis] = sum;
  return shape;
}

Shape infer_slice(const Graph& graph, const Node& node) {
  Shape shape = same_shape(graph, node);
  const size_t n = node.integers("axes").size();
  const auto& axes = integers_attribute(node, "axes", n, 0, static_cast<int64_t>(shape.size()) - 1);
  const auto& begins = integers_attribute(node, "begins", n, 0, kMaxExtent);
  const auto& steps = integers_attribute(node, "steps", n, -kMaxExtent, kMaxExtent);
  const auto& lengths = integers_attribute(node, "lengths", n, 1, kMaxExtent);
  if (n == 0 || std::ranges::adjacent_find(axes, std::ranges::greater_equal{}) != axes.end()) {
    misfit(node, "'axes' must be one or more axes, ascending");
  }
  for (size_t i = 0; i < n; ++i) {
    int64_t& extent = shape[static_cast<size_t>(axes[i])];
    const int64_t reach = steps[i] > 0 ? extent - 1 - begins[i] : begins[i];
    const bool inside = begins[i] < extent && steps[i] != 0 &&
                        lengths[i] - 1 <= reach / std::max<int64_t>(1, std::abs(steps[i]));
    if (!inside) {
      misfit(node, fmt::format("{} elements from {} in steps of {} leave an axis of {}", lengths[i],
                               begins[i], steps[i], extent));
    }
    extent = lengths[i];
  }
  return shape;
}

Shape infer_pad(const Graph& graph, const Node& node) {
  Shape shape = same_shape(graph, node);
  const size_t rank = shape.size();
  const auto& pads = integers_attribute(node, "pads", 2 * rank, 0, kMaxExtent);
  const std::string& mode = node.text("mode");
  if (mode != "constant" && mode != "edge" && mode != "reflect") {
    misfit(node, fmt::format("'mode' is '{}'; it may be constant, edge, reflect", mode));
  }
  node.number("value");
  for (size_t i = 0; i < rank; ++i) {
    const int64_t largest = std::max(pads[i], pads[rank + i]);
    if (largest == 0) continue;
    if (shape[i] < 1 || shape[i] > kMaxExtent || (mode == "reflect" && largest >= shape[i])) {
      misfit(node, fmt::format("an axis of {} cannot be padded by {}", shape[i], largest));
    }
    shape[i] += pads[i] + pads[rank + i];
  }
  return shape;
}

Shape infer_gather(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2);
  const Shape& x = input_shape(graph, node, 0);
  const Shape& indices = input_shape(graph, node, 1);
  const size_t axis = axis_attribute(node, "axis", x.size());
  if (x[axis] < 1 || x.size() - 1 + indices.size() > kMaxRank) {
    misfit(node, fmt::format("{} cannot be gathered by {}", to_string(x), to_string(indices)));
  }
  Shape shape(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(axis));
  shape.insert(shape.end(), indices.begin(), indices.end());
  shape.insert(shape.end(), x.begin() + static_cast<std::ptrdiff_t>(axis) + 1, x.end());
  return shape;
}

Shape infer_expand(const Graph& graph, const Node& node) {
  expect_inputs(graph, node, 2, 1);
  Shape shape = shape_attribute(node);
  if (!shape.empty() && shape[0] == kBatch) {
    const bool given = node.inputs[1] != kNoValue && !input_shape(graph, node, 1).empty();
    if (!given || input_shape(graph, node, 1)[0] != kBatch) {
      misfit(node, "input 1 must be an activation of B elements");
    }
  }
  const Shape& x = input_shape(graph, node, 0);
  if (broadcast(node, x, shape) != shape) {
    misfit(node, fmt::format("{} does not broadcast to {}", to_string(x), to_string(shape)));
  }
  return shape;
}

struct OperatorTable {
  OperatorTable() {
    register_operator("reshape", "the same elements in another shape", false, infer_reshape);
    register_operator("transpose", "axes in another order", false, infer_transpose);
    register_operator("concat", "tensors one after the other along an axis", false, infer_concat);
    register_operator("slice", "a regular part of some axes", false, infer_slice);
    register_operator("pad", "elements added around a tensor", false, infer_pad);
    register_operator("gather", "parts of an axis by index", false, infer_gather);
    register_operator("expand", "a tensor broadcast to a shape", false, infer_expand);
  }
};
const OperatorTable table;

}  // namespace

namespace ops {

ValueId reshape(Graph& graph, std::string name, ValueId x, Shape shape) {
  return graph.add_node("reshape", std::move(name), {x}, {{"shape", std::move(shape)}});
}

ValueId transpose(Graph& graph, std::string name, ValueId x, std::vector<int64_t> order) {
  return graph.add_node("transpose", std::move(name), {x}, {{"order", std::move(order)}});
}

ValueId concat(Graph& graph, std::string name, std::vector<ValueId> inputs, int64_t axis) {
  return graph.add_node("concat", std::move(name), std::move(inputs), {{"axis", axis}});
}

ValueId slice(Graph& graph, std::string name, ValueId x, const SliceOptions& options) {
  return graph.add_node("slice", std::move(name), {x},
                        {{"axes", options.axes},
                         {"begins", options.begins},
                         {"steps", options.steps},
                         {"lengths", options.lengths}});
}

ValueId pad(Graph& graph, std::string name, ValueId x, std::vector<int64_t> pads, std::string mode,
            double value) {
  return graph.add_node("pad", std::move(name), {x},
                        {{"pads", std::move(pads)}, {"mode", std::move(mode)}, {"value", value}});
}

ValueId gather(Graph& graph, std::string name, ValueId x, ValueId indices, int64_t axis) {
  return graph.add_node("gather", std::move(name), {x, indices}, {{"axis", axis}});
}

ValueId expand(Graph& graph, std::string name, ValueId x, ValueId like, Shape shape) {
  return graph.add_node("expand", std::move(name), {x, like}, {{"shape", std::move(shape)}});
}

}  // namespace ops
}  // namespace bitsmith
