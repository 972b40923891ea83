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
      Node* activation = producer[id];
      if (activation == nullptr || uses[id] != 1) continue;
      if (activation->op != "silu" && activation->op != "gelu_tanh") continue;
      node.inputs = {activation->inputs[0], node.inputs[1 - gate]};
      node.op = activation->op + "_multiply";
      activation->op.clear();
      break;
    }
  }
  std::erase_if(fused.nodes, [](const Node& node) { return node.op.empty(); });
  return fused;
}

}  // namespace bitsmith
