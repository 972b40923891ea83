#include "runtime/fuse_graph.h"

namespace bitsmith {

Graph fuse_graph(const Graph& graph) {
  Graph fused = graph;
  std::vector<int> uses(graph.values.size(), 0);
  std::vector<Node*> producer(graph.values.size(), nullptr);
  for (Node& node : fused.nodes) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) ++uses[static_cast<size_t>(id)];
    }
    for (const ValueId id : node.outputs) producer[static_cast<size_t>(id)] = &node;
  }
  for (const ValueId id : graph.outputs) ++uses[static_cast<size_t>(id)];

  for (Node& node : fused.nodes) {
    if (node.op != "multiply") continue;
    for (const size_t gate : {0, 1}) {
      const auto id = static_cast<size_t>(node.inputs[gate]);
      Node* silu = producer[id];
      if (silu == nullptr || silu->op != "silu" || uses[id] != 1) continue;
      node.inputs = {silu->inputs[0], node.inputs[1 - gate]};
      node.op = "silu_multiply";
      silu->op.clear();
      break;
    }
  }
  std::erase_if(fused.nodes, [](const Node& node) { return node.op.empty(); });
  return fused;
}

}  // namespace bitsmith
