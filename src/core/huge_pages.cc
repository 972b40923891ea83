#include "core/huge_pages.h"

#include <sys/mman.h>

#include <cstdint>

namespace bitsmith {

void ask_for_huge_pages(void* memory, size_t size) {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t first = (begin + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  const uintptr_t last = (begin + size) / kHugePageBytes * kHugePageBytes;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

}  // namespace bitsmith
