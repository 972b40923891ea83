// The graph as JSON: nothing is lost, and whatever a hostile file says is an Error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/testing.h"
#include "families/family.h"
#include "graph/graph.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using testing::error_of;
using ::testing::HasSubstr;

json small() {
  return build_graph({{"model_type", "qwen2"},
                      {"vocab_size", 20},
                      {"hidden_size", 8},
                      {"intermediate_size", 12},
                      {"num_hidden_layers", 1},
                      {"num_attention_heads", 2},
                      {"rope_theta", 12345.678},
                      {"rms_norm_eps", 1e-5}})
      .to_json();
}

Graph read(const json& graph) { return Graph::from_json(json::parse(graph.dump())); }

TEST(GraphJson, IsReadBackAsItWas) {
  const json written = small();
  const Graph graph = read(written);
  EXPECT_EQ(graph.to_json(), written);
  const Graph original = Graph::from_json(written);
  ASSERT_EQ(graph.nodes.size(), original.nodes.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    EXPECT_EQ(graph.nodes[n].attributes, original.nodes[n].attributes);  // doubles bit by bit
    EXPECT_EQ(graph.nodes[n].inputs, original.nodes[n].inputs);
  }
  EXPECT_EQ(graph.value(graph.outputs[0]).shape, (Shape{kBatch, kTime, 20}));
}

struct Hostile {
  const char* what;
  const char* pointer;  // where in the graph
  json value;           // what stands there
  const char* message;  // a part of it
  ErrorCode code = ErrorCode::kCorrupt;
};

TEST(GraphJson, HostileValuesAreRefusedWithTheReason) {
  const json huge = uint64_t{18446744073709551615ULL};  // would be -1 in 64 bits
  const std::vector<Hostile> cases = {
      {"no object", "", json::array(), "'inputs' is missing"},
      {"no inputs", "/inputs", json::array(), "before it is made"},
      {"inputs are no list", "/inputs", json::object(), "'inputs' must be a list"},
      {"an input is no object", "/inputs/0", 7, "'name' is missing"},
      {"an input without a shape", "/inputs/0", {{"name", "tokens"}}, "'shape' is missing"},
      {"a name that is no string", "/inputs/0/name", 3, "'name' must be a string"},
      {"an unknown symbol", "/inputs/0/shape/0", -3, "-3 is no extent"},
      {"an extent beyond 64 bits", "/inputs/0/shape/0", huge, "is no extent"},
      {"a fraction of an extent", "/inputs/0/shape/0", 1.5, "is no extent"},
      {"too many extents", "/inputs/0/shape", std::vector<int>(9, 1), "at most 8 extents"},
      {"a shape that is a number", "/inputs/0/shape", 3, "a shape must be a list"},
      {"a negative parameter", "/parameters/0/shape/0", -1, "has the shape [B, 8]"},
      {"a huge parameter", "/parameters/0/shape", {1LL << 40, 1LL << 40}, "has the shape"},
      {"a parameter beyond 64 bits", "/parameters/0/shape/0", huge, "is no extent"},
      {"a parameter without a role",
       "/parameters/0",
       {{"name", "x"}, {"shape", {1}}},
       "'role' is missing"},
      {"two parameters of one name", "/parameters/1/name", "model.embed_tokens.weight",
       "two values are named 'model.embed_tokens.weight'"},
      {"a parameter named like the input", "/parameters/0/name", "tokens",
       "two values are named 'tokens'"},
      {"a node named like a parameter", "/nodes/0/name", "model.norm.weight",
       "two values are named 'model.norm.weight'"},
      {"two nodes of one name", "/nodes/1/name", "embedding", "two values are named 'embedding'"},
      {"an unknown operator", "/nodes/0/op", "no such",
       "'no such', which this version does not know", ErrorCode::kUnsupported},
      {"a node that reads itself", "/nodes/1/inputs/0", "layers.0.attention.norm",
       "'layers.0.attention.norm' is used before it is made"},
      {"a node that reads a later one", "/nodes/1/inputs/0", "head.logits",
       "'head.logits' is used before it is made"},
      {"a node that reads nothing there is", "/nodes/1/inputs/0", "nowhere",
       "'nowhere' is used before it is made"},
      {"an input that is a number", "/nodes/1/inputs/0", 0, "0 is no name"},
      {"an input that is missing", "/nodes/1/inputs/0", nullptr,
       "'layers.0.attention.norm' (rms_norm): input 0 is missing"},
      {"too few inputs", "/nodes/1/inputs", json::array(), "it takes 2 inputs, not 0"},
      {"an activation for a parameter", "/nodes/1/inputs/1", "embedding", "must be a parameter"},
      {"attributes that are a list", "/nodes/1/attributes", json::array({1}), "must be an object"},
      {"an attribute that is null", "/nodes/1/attributes/epsilon", nullptr, "null is no attribute"},
      {"an attribute of a wrong type", "/nodes/1/attributes/epsilon", "1e-5",
       "lacks the attribute 'epsilon' or has it in a wrong type"},
      {"an attribute beyond 64 bits", "/nodes/1/attributes/more", huge, "is no attribute"},
      {"a list of texts", "/nodes/1/attributes/more", {"a"}, "may only hold numbers"},
      {"no nodes", "/nodes", json::array(), "'head.logits' is used before it is made"},
      {"no outputs", "/outputs", json::array(), "an output and a node"},
      {"an output that nobody makes", "/outputs/0", "nowhere", "used before it is made"},
      {"an output that is a number", "/outputs/0", 5, "5 is no name"},
      {"a parameter as the output", "/outputs/0", "model.norm.weight", "is made by no node"},
      {"the input as the output", "/outputs/0", "tokens", "is made by no node"},
  };
  for (const Hostile& hostile : cases) {
    SCOPED_TRACE(hostile.what);
    json graph = small();
    const json::json_pointer at(hostile.pointer);
    if (!std::string_view(hostile.pointer).ends_with("/1")) {
      ASSERT_TRUE(graph.contains(at) || std::string_view(hostile.pointer).ends_with("/more"));
    }
    graph[at] = hostile.value;
    EXPECT_THAT(error_of(hostile.code, [&] { read(graph); }), HasSubstr(hostile.message));
  }
}

TEST(GraphJson, AFieldThatIsNotThereIsNamed) {
  for (const char* field : {"inputs", "parameters", "nodes", "outputs"}) {
    json graph = small();
    graph.erase(field);
    EXPECT_THAT(error_of(ErrorCode::kCorrupt, [&] { read(graph); }),
                HasSubstr(fmt::format("'{}' is missing", field)));
  }
}

void collect(const json& value, const json::json_pointer& at,
             std::vector<json::json_pointer>& places) {
  places.push_back(at);
  if (value.is_object()) {
    for (const auto& [key, element] : value.items()) collect(element, at / key, places);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) collect(value[i], at / i, places);
  }
}

TEST(GraphJson, AnyValueAnywhereIsAGraphOrAnError) {
  const json odd[] = {nullptr,           -1,       std::numeric_limits<int64_t>::max(),
                      uint64_t{1} << 63, 1e308,    "",
                      "tokens",          "linear", json::array(),
                      json::object(),    {1, 2},   {"tokens", "tokens"}};
  const json original = small();
  std::vector<json::json_pointer> places;
  collect(original, json::json_pointer(), places);
  size_t read_back = 0;
  for (const json::json_pointer& place : places) {
    for (const json& value : odd) {
      json graph = original;
      graph[place] = value;
      try {
        Graph result = read(graph);
        ++read_back;
        const json written = result.to_json();
        EXPECT_EQ(read(written).to_json(), written);
        remove_dead_nodes(result);
        if (result.outputs.size() > 1) continue;
        EXPECT_FALSE(find_blocks(result).empty());
      } catch (const Error&) {
      }
    }
  }
  EXPECT_GT(read_back, 0u);  // such as another role
}

}  // namespace
}  // namespace bitsmith
