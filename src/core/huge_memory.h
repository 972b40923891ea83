// Large memory that is read again and again.
#pragma once

#include <cstddef>
#include <span>

namespace bitsmith {

// Zeroed memory in pages of 2 MiB where the kernel has them (in small ones otherwise). Hardware
// prefetching stops at the border of a page: a stream of weights is read faster from large ones
// than from a mapped file. Pages count once they are written. Not for release_pages(), which would
// make it zero.
class HugeMemory {
 public:
  // Throws kEnvironment if there is no such memory.
  explicit HugeMemory(size_t size);
  ~HugeMemory();
  HugeMemory(const HugeMemory&) = delete;
  HugeMemory& operator=(const HugeMemory&) = delete;

  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  void* mapping_ = nullptr;
  size_t mapping_size_ = 0;
  std::byte* data_ = nullptr;  // aligned to a large page
  size_t size_ = 0;
};

}  // namespace bitsmith
