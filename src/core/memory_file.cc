#include "core/memory_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/mapped_file.h"

namespace bitsmith {

MemoryFile::MemoryFile(size_t size) : size_(size) {
  if (size == 0) return;
  const auto refuse = [&](const char* call, int reason) {
    fail(ErrorCode::kEnvironment, "cannot get {} bytes of memory ({}): {}", size, call,
         std::strerror(reason));
  };
  const int fd = ::memfd_create("bitsmith", MFD_CLOEXEC);
  if (fd < 0) refuse("memfd_create", errno);
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) {
    const int reason = errno;
    ::close(fd);
    refuse("ftruncate", reason);
  }
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int reason = errno;
  ::close(fd);
  if (data == MAP_FAILED) refuse("mmap", reason);
  data_ = static_cast<std::byte*>(data);
}

MemoryFile::~MemoryFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void MemoryFile::discard(std::span<const std::byte> part) const {
  const std::span<const std::byte> pages = whole_pages(part);
  if (pages.empty()) return;
  ::madvise(const_cast<std::byte*>(pages.data()), pages.size(), MADV_REMOVE);
}

}  // namespace bitsmith
