// How the panels of a matrix and the blocks of tokens are shared out among threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "runtime/kernels/linear.h"

namespace bitsmith {

// Panels [panel_begin, panel_end) for the token blocks [block_begin, block_end) of Int8Activations.
struct PanelRange {
  int64_t panel_begin = 0;
  int64_t panel_end = 0;
  int64_t block_begin = 0;
  int64_t block_end = 0;
};

// So many panels are read side by side for one token, if a range has as many.
constexpr int64_t kTokenStreams = 4;

// Calls body(range) for all panels and tokens. A task is a range of panels for up to 128 tokens,
// whose activations stay in the L2 cache while the panels pass by. A few tasks per thread even out
// a busy machine.
template <class Body>
void for_panel_ranges(int64_t all_panels, int64_t tokens, ThreadPool& pool, const Body& body) {
  constexpr int64_t kTaskBlocks = 8;
  constexpr int64_t kTasksPerThread = 4;
  const int64_t blocks = ceil_div(tokens, Int8Activations::kBlock);
  const int64_t block_ranges = ceil_div(blocks, kTaskBlocks);
  const int64_t wanted = ceil_div(pool.threads() * kTasksPerThread, block_ranges);
  const int64_t together = tokens == 1 ? kTokenStreams : 1;
  const int64_t panels = ceil_div(ceil_div(all_panels, wanted), together) * together;
  const int64_t panel_ranges = ceil_div(all_panels, panels);
  pool.run(panel_ranges * block_ranges, [&](int64_t i, int) {
    const int64_t p = i % panel_ranges * panels;
    const int64_t b = i / panel_ranges * kTaskBlocks;
    body(PanelRange{p, std::min(p + panels, all_panels), b, std::min(b + kTaskBlocks, blocks)});
  });
}

// The same with memory of each thread: body(range, scratch), `scratch_bytes` or more of it.
template <class Body>
void for_panel_ranges(int64_t all_panels, int64_t tokens, int64_t scratch_bytes, ThreadPool& pool,
                      const Body& body) {
  for_panel_ranges(all_panels, tokens, pool, [&](const PanelRange& range) {
    thread_local std::vector<uint8_t> scratch;
    scratch.resize(std::max(scratch.size(), static_cast<size_t>(scratch_bytes)));
    body(range, std::span<uint8_t>(scratch));
  });
}

}  // namespace bitsmith
