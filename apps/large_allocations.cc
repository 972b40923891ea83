// Large arrays in huge pages. Whole matrices come and go for every tensor, and the first touch of
// each 4 KiB page is a call into the kernel, so that without this the pages cost more than the
// arithmetic. Linked into a program, this replaces its operator new.
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

constexpr size_t kLarge = size_t{4} << 20;
constexpr uintptr_t kHugePage = uintptr_t{2} << 20;

void ask_for_huge_pages(void* memory, size_t size) {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t last = (begin + size) / kHugePage * kHugePage;
  // A kernel without huge pages refuses: nothing is lost.
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

}  // namespace

void* operator new(size_t size) {
  void* memory = std::malloc(size > 0 ? size : 1);
  while (memory == nullptr) {
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc();
    handler();
    memory = std::malloc(size > 0 ? size : 1);
  }
  if (size >= kLarge) ask_for_huge_pages(memory, size);
  return memory;
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
