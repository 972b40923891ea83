// Asking for memory ahead of its use.
#pragma once

#include <cstdint>

namespace bitsmith {

// Asks for a cache line that will be read in some hundred cycles, into the second-level cache: the
// first has fewer places for lines on their way than it takes to keep memory busy, and a prefetch
// that finds none holds up the loads behind it. Always inlined: GCC takes a call of it, left over
// where the caller is for another target, for one without effect and drops it.
__attribute__((always_inline)) inline void prefetch_far(const uint8_t* address) {
  __builtin_prefetch(address, 0, 2);
}

// The same into the first level, for kernels that compute longer than memory takes.
__attribute__((always_inline)) inline void prefetch_near(const uint8_t* address) {
  __builtin_prefetch(address, 0, 3);
}

}  // namespace bitsmith
