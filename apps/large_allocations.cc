// Large arrays in huge pages. Whole matrices come and go for every tensor, and the first touch of
// each 4 KiB page is a call into the kernel, so that without this the pages cost more than the
// arithmetic. Linked into a program, this replaces its operator new.
//
// Freed ones go back to the system at once, torch's too. Left to itself, malloc raises the size
// from which it does so up to 32 MiB; what is smaller stays in heaps that grow with every layer,
// because small things that live on lie between.
#include <malloc.h>

#include <cstdlib>
#include <new>

#include "core/huge_pages.h"

namespace {

constexpr size_t kLarge = 2 * bitsmith::kHugePageBytes;
[[maybe_unused]] const int kIsSet = ::mallopt(M_MMAP_THRESHOLD, static_cast<int>(kLarge));

}  // namespace

void* operator new(size_t size) {
  void* memory = std::malloc(size > 0 ? size : 1);
  while (memory == nullptr) {
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc();
    handler();
    memory = std::malloc(size > 0 ? size : 1);
  }
  if (size >= kLarge) bitsmith::ask_for_huge_pages(memory, size);
  return memory;
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
