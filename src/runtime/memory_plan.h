// Where the activations of a graph lie, so that those that are never alive together share memory.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace bitsmith {

// Offsets are in float32 elements for each row (token) of a batch: a batch of n rows puts a value
// at n * offset, so that small batches use little memory. Multiples of 16 (one cache line).
struct MemoryPlan {
  static constexpr int64_t kNowhere = -1;
  std::vector<int64_t> offsets;  // [values]; kNowhere: not planned
  int64_t row_elements = 0;      // elements needed for each row
};

// Plans every activation but `outside`, which the caller places. O(nodes * values alive together).
//   channels [values]: elements per row;  in_place [nodes]: inputs that the output may overwrite
MemoryPlan plan_memory(const Graph& graph, const std::vector<int64_t>& channels,
                       const std::vector<std::vector<size_t>>& in_place, ValueId outside);

// [values]: the last node that reads each value; nodes.size() for the graph's outputs, -1 for
// values that nobody reads.
std::vector<int64_t> last_uses(const Graph& graph);

}  // namespace bitsmith
