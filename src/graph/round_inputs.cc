#include "graph/round_inputs.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "graph/operators.h"

namespace bitsmith {

Graph with_rounded_inputs(Graph graph, int64_t bits,
                          const std::function<bool(const std::string& parameter)>& takes) {
  std::vector<Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  std::map<ValueId, ValueId> rounded;
  std::set<ValueId> before;  // rounded already
  for (Node& node : nodes) {
    if (node.op == "round_tokens") before.insert(node.outputs[0]);
    const bool layer = node.op == "linear" &&
                       graph.value(node.inputs[1]).kind == ValueKind::kParameter &&
                       takes(graph.value(node.inputs[1]).name);
    if (layer) {
      const ValueId x = node.inputs[0];
      if (before.contains(x)) {
        fail(ErrorCode::kUnsupported,
             "what '{}' multiplies is rounded per token already: compress the model that it was "
             "made from",
             node.name);
      }
      if (!rounded.contains(x)) {
        rounded[x] = ops::round_tokens(graph, graph.value(x).name + ".rounded", x, bits);
      }
      node.inputs[0] = rounded[x];
    }
    graph.nodes.push_back(std::move(node));
  }
  return graph;
}

}  // namespace bitsmith
