// Memory that may be treated like a mapped file.
#pragma once

#include <cstddef>
#include <span>

namespace bitsmith {

// Zeroed memory behind a file without a name, so that release_pages() on any part of it loses
// nothing, as on mapped files.
class MemoryFile {
 public:
  // Throws kEnvironment if there is no such memory. Pages count once they are written.
  explicit MemoryFile(size_t size);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::span<std::byte> bytes() const { return {data_, size_}; }

  // Gives the memory of the pages wholly inside `part` back for good: they read as zero.
  void discard(std::span<const std::byte> part) const;

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace bitsmith
