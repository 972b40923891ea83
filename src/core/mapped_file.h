// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>

namespace bitsmith {

class MappedFile {
 public:
  MappedFile() = default;
  // Throws kNotFound if the file is not there, kEnvironment if it cannot be opened or mapped.
  // An empty file gives an empty span. A file that shrinks while it is mapped kills the process
  // with SIGBUS, as for every program that maps files.
  explicit MappedFile(const std::filesystem::path& path);
  // A file without a name, in memory, for bytes that had to be rearranged: `fill` writes all `size`
  // of them, then they are read-only. release_pages() does not lose them. Throws kEnvironment if
  // there is no memory.
  static MappedFile in_memory(size_t size, const std::function<void(std::span<std::byte>)>& fill);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::filesystem::path path_;
};

// The pages of memory that lie wholly inside `bytes`.
std::span<const std::byte> whole_pages(std::span<const std::byte> bytes);

// Tells the kernel that the pages wholly inside `bytes` (part of a mapped file) are not needed
// soon, so that they stop counting as this process's memory. Reading them again is allowed.
void release_pages(std::span<const std::byte> bytes);

}  // namespace bitsmith
