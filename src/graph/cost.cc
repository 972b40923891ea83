#include "graph/cost.h"

#include <algorithm>
#include <limits>

namespace bitsmith {

int64_t multiply_adds(const Graph& graph, const Node& node) {
  // Extents whose product is the count; B and T are 1.
  Shape extents = graph.value(node.outputs[0]).shape;
  for (int64_t& extent : extents) extent = std::max<int64_t>(extent, 1);
  if (node.op == "conv" || node.op == "linear") {
    const Shape& weight = graph.value(node.inputs[1]).shape;  // [O, C, K...] or [O, C]
    extents.insert(extents.end(), weight.begin() + 1, weight.end());
  } else if (node.op == "matmul") {
    extents.push_back(std::max<int64_t>(graph.value(node.inputs[0]).shape.back(), 1));
  } else {
    return 0;
  }
  return element_count(extents).value_or(std::numeric_limits<int64_t>::max());
}

}  // namespace bitsmith
