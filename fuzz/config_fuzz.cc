// Any text as a config.json.
#include "families/family.h"
#include "formats/json_text.h"
#include "fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitsmith;
  allow_errors([&] {
    const Graph graph = build_graph(parse_json_text(text_of(data, size), "input", 1 << 20));
    if (graph.nodes.size() > 1000) return;
    const nlohmann::json json = graph.to_json();
    FUZZ_EXPECT(Graph::from_json(nlohmann::json::parse(json.dump())).to_json() == json);
  });
  return 0;
}
