// Large pages for memory that one has.
#pragma once

#include <cstddef>

namespace bitsmith {

constexpr size_t kHugePageBytes = size_t{2} << 20;

// Asks the kernel for large pages where whole ones lie in [memory, memory + size). A kernel without
// them refuses, which loses nothing.
void ask_for_huge_pages(void* memory, size_t size);

}  // namespace bitsmith
