#include "runtime/memory_plan.h"

#include <algorithm>
#include <list>

namespace bitsmith {
namespace {

constexpr int64_t kAlign = 16;

struct Region {
  int64_t begin = 0;
  int64_t end = 0;
  ValueId owner = kNoValue;
};

// Takes the first gap of `size` elements between the regions, which are sorted.
int64_t take(std::list<Region>& regions, int64_t size, ValueId owner) {
  int64_t begin = 0;
  auto it = regions.begin();
  for (; it != regions.end() && it->begin - begin < size; ++it) begin = it->end;
  regions.insert(it, {begin, begin + size, owner});
  return begin;
}

}  // namespace

std::vector<int64_t> last_uses(const Graph& graph) {
  std::vector<int64_t> last(graph.values.size(), -1);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const ValueId id : graph.nodes[n].inputs) {
      if (id != kNoValue) last[static_cast<size_t>(id)] = static_cast<int64_t>(n);
    }
  }
  for (const ValueId id : graph.outputs) {
    last[static_cast<size_t>(id)] = static_cast<int64_t>(graph.nodes.size());
  }
  return last;
}

MemoryPlan plan_memory(const Graph& graph, const std::vector<int64_t>& channels,
                       const std::vector<std::vector<size_t>>& in_place, ValueId outside) {
  const std::vector<int64_t> last = last_uses(graph);
  MemoryPlan plan;
  plan.offsets.assign(graph.values.size(), MemoryPlan::kNowhere);
  std::list<Region> regions;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const auto index = static_cast<int64_t>(n);
    for (const ValueId output : node.outputs) {
      if (output == outside) continue;
      const auto o = static_cast<size_t>(output);
      const int64_t size = ceil_div(channels[o], kAlign) * kAlign;
      Region* reused = nullptr;
      for (const size_t i : in_place[n]) {
        const ValueId input = i < node.inputs.size() ? node.inputs[i] : kNoValue;
        if (input == kNoValue || last[static_cast<size_t>(input)] != index) continue;
        const auto it = std::ranges::find(regions, input, &Region::owner);
        if (it == regions.end() || it->end - it->begin != size) continue;
        reused = &*it;
        break;
      }
      if (reused != nullptr) {
        reused->owner = output;
        plan.offsets[o] = reused->begin;
      } else {
        plan.offsets[o] = take(regions, size, output);
      }
    }
    std::erase_if(regions, [&](const Region& region) {
      plan.row_elements = std::max(plan.row_elements, region.end);
      return last[static_cast<size_t>(region.owner)] <= index;
    });
  }
  return plan;
}

}  // namespace bitsmith
