#include "runtime/memory_plan.h"

#include <gtest/gtest.h>

#include "families/family.h"
#include "runtime/native_operator.h"
#include "runtime/runtime_testing.h"

namespace bitsmith {
namespace {

// Checks, node by node, that what is alive lies apart.
void expect_disjoint(const Graph& graph, const std::vector<int64_t>& channels,
                     const MemoryPlan& plan) {
  const std::vector<int64_t> last = last_uses(graph);
  std::vector<ValueId> alive;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    // After node n: its outputs, and what later nodes read.
    for (const ValueId id : graph.nodes[n].outputs) alive.push_back(id);
    std::erase_if(alive, [&](ValueId id) {
      return last[static_cast<size_t>(id)] <= static_cast<int64_t>(n) &&
             std::ranges::count(graph.nodes[n].outputs, id) == 0;
    });
    for (const ValueId a : alive) {
      const int64_t begin = plan.offsets[static_cast<size_t>(a)];
      if (begin == MemoryPlan::kNowhere) continue;
      const int64_t end = begin + channels[static_cast<size_t>(a)];
      EXPECT_EQ(begin % 16, 0);
      EXPECT_LE(end, plan.row_elements);
      for (const ValueId b : alive) {
        const int64_t other = plan.offsets[static_cast<size_t>(b)];
        if (a == b || other == MemoryPlan::kNowhere) continue;
        EXPECT_TRUE(end <= other || other + channels[static_cast<size_t>(b)] <= begin)
            << graph.value(a).name << " and " << graph.value(b).name;
      }
    }
  }
}

TEST(MemoryPlan, ValuesAliveTogetherLieApart) {
  for (const char* family : {"llama", "qwen2", "qwen3", "mistral"}) {
    const Graph graph = build_graph(testing::small_config(family));
    std::vector<int64_t> channels(graph.values.size(), 0);
    std::vector<std::vector<size_t>> in_place;
    int64_t total = 0;
    for (const Node& node : graph.nodes) {
      const auto output = static_cast<size_t>(node.outputs[0]);
      channels[output] = graph.values[output].shape.back();
      total += channels[output];
      in_place.push_back(Registry<NativeOperator>::instance().get(node.op).in_place_inputs());
    }
    const MemoryPlan plan = plan_memory(graph, channels, in_place, graph.outputs[0]);
    expect_disjoint(graph, channels, plan);
    EXPECT_EQ(plan.offsets[static_cast<size_t>(graph.outputs[0])], MemoryPlan::kNowhere);
    EXPECT_LT(plan.row_elements, total / 4);  // sharing is what the plan is for
    const MemoryPlan apart = plan_memory(
        graph, channels, std::vector<std::vector<size_t>>(graph.nodes.size()), kNoValue);
    expect_disjoint(graph, channels, apart);
    EXPECT_GE(apart.row_elements, plan.row_elements);
  }
}

TEST(MemoryPlan, NeverOverwritesAnInputThatIsReadLater) {
  Graph graph;
  const ValueId ids = graph.add_input("tokens", {kBatch, kTime});
  const ValueId table = graph.add_parameter("table", {4, 16}, "embedding");
  graph.add_node("embedding", "x", {ids, table});
  graph.add_node("silu", "s", {graph.find("x")});
  graph.outputs = {graph.add_node("add", "y", {graph.find("s"), graph.find("x")})};
  const std::vector<int64_t> channels(graph.values.size(), 16);
  const MemoryPlan plan = plan_memory(graph, channels, {{}, {0}, {0, 1}}, kNoValue);
  const auto offset = [&](const char* name) {
    return plan.offsets[static_cast<size_t>(graph.find(name))];
  };
  EXPECT_NE(offset("s"), offset("x"));
  EXPECT_EQ(offset("y"), offset("s"));
  EXPECT_EQ(plan.row_elements, 32);
}

}  // namespace
}  // namespace bitsmith
