// How much memory there is and was used, as Linux says.
#pragma once

#include <cstdint>

namespace bitsmith {

// The largest resident size this process ever had; 0 where it cannot be known.
uint64_t peak_memory_bytes();

// What this process may take without others, or the limits of its control groups, being pressed:
// what the kernel calls available, and what is left of each limit, files that are only cached not
// counted as used. 0 where it cannot be known.
uint64_t available_memory_bytes();

}  // namespace bitsmith
