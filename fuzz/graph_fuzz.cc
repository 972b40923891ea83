// Any text as the graph of a checkpoint.
#include "formats/json_text.h"
#include "fuzz_target.h"
#include "graph/graph.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitsmith;
  allow_errors([&] {
    Graph graph = Graph::from_json(parse_json_text(text_of(data, size), "input", 1 << 20));
    const nlohmann::json json = graph.to_json();
    FUZZ_EXPECT(Graph::from_json(json).to_json() == json);
    for (const Node& node : graph.nodes) FUZZ_EXPECT(graph.find(node.name) != kNoValue);
    remove_dead_nodes(graph);
    if (graph.outputs.size() == 1 && !graph.nodes.empty()) find_blocks(graph);
  });
  return 0;
}
