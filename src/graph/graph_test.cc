// Blocks between cut points and the removal of dead nodes: on real, odd and random graphs.
#include "graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/random.h"
#include "core/testing.h"
#include "families/family.h"
#include "graph/operators.h"

namespace bitsmith {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

nlohmann::json llama(int64_t layers, bool tied = false) {
  return {{"model_type", "llama"},
          {"vocab_size", 20},
          {"hidden_size", 8},
          {"intermediate_size", 12},
          {"num_hidden_layers", layers},
          {"num_attention_heads", 2},
          {"tie_word_embeddings", tied}};
}

// A graph under construction, all of whose activations are [B, T, 8].
struct Sketch {
  Graph graph;
  ValueId tokens = graph.add_input("tokens", {kBatch, kTime});
  int matrices = 0;

  ValueId matrix(int64_t rows) {
    return graph.add_parameter(fmt::format("w{}", matrices++), {rows, 8}, "w");
  }
  ValueId embedding(const std::string& name) {
    return ops::embedding(graph, name, tokens, matrix(20));
  }
  ValueId linear(const std::string& name, ValueId x) {
    return ops::linear(graph, name, x, matrix(8));
  }
};

std::vector<std::string> names(const std::vector<Block>& blocks) {
  std::vector<std::string> result;
  for (const Block& block : blocks) result.push_back(block.name);
  return result;
}

std::vector<size_t> ends(const std::vector<Block>& blocks) {
  std::vector<size_t> result;
  for (const Block& block : blocks) result.push_back(block.end);
  return result;
}

// What is live between nodes i - 1 and i, by the definition.
std::set<ValueId> live_before(const Graph& graph, size_t i) {
  std::set<ValueId> made(graph.inputs.begin(), graph.inputs.end());
  for (size_t n = 0; n < i; ++n) made.insert(graph.nodes[n].outputs[0]);
  std::set<ValueId> needed(graph.outputs.begin(), graph.outputs.end());
  for (size_t n = i; n < graph.nodes.size(); ++n) {
    needed.insert(graph.nodes[n].inputs.begin(), graph.nodes[n].inputs.end());
  }
  std::set<ValueId> live;
  std::ranges::set_intersection(made, needed, std::inserter(live, live.end()));
  return live;
}

bool has_matrix(const Graph& graph, size_t begin, size_t end) {
  for (size_t n = begin; n < end; ++n) {
    for (const ValueId id : graph.nodes[n].inputs) {
      if (id == kNoValue) continue;
      const Value& value = graph.value(id);
      if (value.kind == ValueKind::kParameter && value.shape.size() >= 2) return true;
    }
  }
  return false;
}

// Blocks follow each other, are bounded by cut points, and cannot be cut further.
void expect_good_blocks(const Graph& graph) {
  const std::vector<Block> blocks = find_blocks(graph);
  ASSERT_FALSE(blocks.empty());
  EXPECT_EQ(blocks.front().begin, 0u);
  EXPECT_EQ(blocks.front().input, graph.inputs[0]);
  EXPECT_EQ(blocks.back().end, graph.nodes.size());
  EXPECT_EQ(blocks.back().output, graph.outputs[0]);
  const bool any_matrix = has_matrix(graph, 0, graph.nodes.size());
  for (size_t b = 0; b < blocks.size(); ++b) {
    const Block& block = blocks[b];
    SCOPED_TRACE(
        fmt::format("block {} '{}': nodes {} to {}", b, block.name, block.begin, block.end));
    if (b > 0) {
      EXPECT_EQ(block.begin, blocks[b - 1].end);
      EXPECT_EQ(block.input, blocks[b - 1].output);
    }
    EXPECT_EQ(live_before(graph, block.end), std::set<ValueId>{block.output});
    EXPECT_EQ(has_matrix(graph, block.begin, block.end), any_matrix);
    for (size_t i = block.begin + 1; i < block.end; ++i) {
      if (live_before(graph, i).size() != 1) continue;
      EXPECT_FALSE(has_matrix(graph, block.begin, i) && has_matrix(graph, i, block.end))
          << "could be cut before node " << i;
    }
  }
}

TEST(FindBlocks, OfALlamaAreItsAttentionsAndItsMlps) {
  for (const bool tied : {false, true}) {
    const Graph graph = build_graph(llama(2, tied));
    expect_good_blocks(graph);
    EXPECT_THAT(names(find_blocks(graph)),
                ElementsAre("embedding", "layers.0.attention", "layers.0.mlp", "layers.1.attention",
                            "layers.1.mlp", "head"));
  }
}

TEST(FindBlocks, OneNode) {
  Sketch s;
  s.graph.outputs = {s.embedding("e")};
  expect_good_blocks(s.graph);
  EXPECT_THAT(names(find_blocks(s.graph)), ElementsAre("e"));
}

TEST(FindBlocks, AResidualFromTheVeryStartLeavesNoCutPointBetween) {
  Sketch s;
  const ValueId x = s.embedding("e");
  const ValueId y = s.linear("b", s.linear("a", x));
  s.graph.outputs = {ops::add(s.graph, "sum", x, y)};
  expect_good_blocks(s.graph);
  EXPECT_THAT(ends(find_blocks(s.graph)), ElementsAre(1, 4));
}

TEST(FindBlocks, TheGraphsInputIsLiveUntilItsLastUse) {
  Sketch s;
  const ValueId x = s.linear("a", s.embedding("e"));
  const ValueId again = s.embedding("again");
  const ValueId y = ops::add(s.graph, "sum", x, again);
  s.graph.outputs = {s.linear("b", y)};
  expect_good_blocks(s.graph);
  EXPECT_THAT(ends(find_blocks(s.graph)), ElementsAre(4, 5));
}

TEST(FindBlocks, ALaterNodeDoesNotReplaceTheOutput) {
  Sketch s;
  const ValueId x = s.embedding("e");
  s.graph.outputs = {s.linear("a", x)};
  s.linear("dead", s.graph.outputs[0]);
  const std::vector<Block> blocks = find_blocks(s.graph);
  EXPECT_EQ(blocks.back().end, 3u);
  EXPECT_EQ(blocks.back().output, s.graph.outputs[0]);
}

TEST(FindBlocks, NodesWithoutAMatrixAreJoinedToANeighbour) {
  Sketch s;
  ValueId x = s.embedding("e");
  x = ops::silu(s.graph, "before", x);
  x = s.linear("a", x);
  x = ops::silu(s.graph, "after", x);
  s.graph.outputs = {ops::silu(s.graph, "after.again", x)};
  expect_good_blocks(s.graph);
  EXPECT_THAT(ends(find_blocks(s.graph)), ElementsAre(1, 5));
}

TEST(FindBlocks, AGraphWithoutAMatrixIsOneBlock) {
  Graph graph;
  ValueId x = graph.add_input("x", {kBatch, kTime, 8});
  x = ops::rms_norm(graph, "norm", x, graph.add_parameter("w", {8}, "norm"), 0);
  graph.outputs = {ops::silu(graph, "silu", x)};
  expect_good_blocks(graph);
  EXPECT_EQ(find_blocks(graph).size(), 1u);
}

TEST(FindBlocks, AnOutputStaysLiveToTheEnd) {
  Sketch s;
  const ValueId x = s.embedding("e");
  s.graph.outputs = {x, s.linear("a", x)};
  EXPECT_THAT(ends(find_blocks(s.graph)), ElementsAre(1, 2));
}

TEST(FindBlocks, GraphsWithoutOutputsAreRefused) {
  Sketch s;
  s.embedding("e");
  EXPECT_THAT(error_of(ErrorCode::kUnsupported, [&] { find_blocks(s.graph); }),
              HasSubstr("this one has 1, 0 and 1"));
}

// A random network: each node reads earlier values, the output is the last one.
Graph random_graph(uint64_t seed) {
  Random random(seed);
  Sketch s;
  std::vector<ValueId> made = {s.embedding("n.0")};
  const auto draw = [&] {  // mostly of the latest, as in real networks
    const size_t back = std::min<size_t>(made.size(), 1 + random.below(random.below(4) + 1));
    return made[made.size() - back];
  };
  for (uint64_t i = 1 + random.below(14); i > 0; --i) {
    const std::string name = fmt::format("n.{}", made.size());
    switch (random.below(5)) {
      case 0:
        made.push_back(s.linear(name, draw()));
        break;
      case 1:
        made.push_back(ops::silu(s.graph, name, draw()));
        break;
      case 2:
        made.push_back(s.embedding(name));
        break;
      default: {
        const ValueId first = draw();
        made.push_back(ops::add(s.graph, name, first, draw()));
      }
    }
  }
  s.graph.outputs = {made.back()};
  return s.graph;
}

TEST(FindBlocks, OfRandomGraphsAreThoseOfTheDefinition) {
  size_t several = 0;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    Graph graph = random_graph(seed);
    remove_dead_nodes(graph);
    expect_good_blocks(graph);
    several += find_blocks(graph).size() > 2;
    if (HasFailure()) return;
  }
  EXPECT_GT(several, 50u);  // or the test would show nothing
}

TEST(RemoveDeadNodes, KeepsWhatTheOutputNeedsAndNothingElse) {
  size_t removed = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    const Graph whole = random_graph(seed);
    // Needed: the output, and what is read by a node whose result is needed.
    std::set<ValueId> needed(whole.outputs.begin(), whole.outputs.end());
    for (bool grown = true; grown;) {
      grown = false;
      for (const Node& node : whole.nodes) {
        if (!needed.contains(node.outputs[0])) continue;
        for (const ValueId id : node.inputs) grown = needed.insert(id).second || grown;
      }
    }
    std::vector<std::string> expected;
    for (const Node& node : whole.nodes) {
      if (needed.contains(node.outputs[0])) expected.push_back(node.name);
    }
    Graph graph = whole;
    remove_dead_nodes(graph);
    std::vector<std::string> got;
    for (const Node& node : graph.nodes) got.push_back(node.name);
    EXPECT_EQ(got, expected);
    removed += whole.nodes.size() - got.size();
  }
  EXPECT_GT(removed, 100u);
}

TEST(GraphParameters, AreListedOnceInOrderOfFirstUse) {
  const Graph graph = build_graph(llama(1, true));
  std::vector<std::string> listed;
  for (const ValueId id : graph.parameters()) listed.push_back(graph.value(id).name);
  const std::string l = "model.layers.0.";
  EXPECT_THAT(listed, ElementsAre("model.embed_tokens.weight", l + "input_layernorm.weight",
                                  l + "self_attn.q_proj.weight", l + "self_attn.k_proj.weight",
                                  l + "self_attn.v_proj.weight", l + "self_attn.o_proj.weight",
                                  l + "post_attention_layernorm.weight", l + "mlp.gate_proj.weight",
                                  l + "mlp.up_proj.weight", l + "mlp.down_proj.weight",
                                  "model.norm.weight"));
}

}  // namespace
}  // namespace bitsmith
