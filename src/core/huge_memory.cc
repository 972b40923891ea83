#include "core/huge_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "core/error.h"
#include "core/huge_pages.h"

namespace bitsmith {

HugeMemory::HugeMemory(size_t size) : size_(size) {
  constexpr size_t kPage = kHugePageBytes;
  if (size == 0) return;
  if (size > SIZE_MAX - 2 * kPage) fail(ErrorCode::kEnvironment, "cannot get {} bytes", size);
  mapping_size_ = (size + kPage - 1) / kPage * kPage + kPage;
  mapping_ =
      ::mmap(nullptr, mapping_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping_ == MAP_FAILED) {
    fail(ErrorCode::kEnvironment, "cannot get {} bytes of memory: {}", size, std::strerror(errno));
  }
  const auto begin = reinterpret_cast<uintptr_t>(mapping_);
  data_ = static_cast<std::byte*>(mapping_) + (kPage - begin % kPage) % kPage;
  ask_for_huge_pages(mapping_, mapping_size_);
}

HugeMemory::~HugeMemory() {
  if (mapping_ != nullptr) ::munmap(mapping_, mapping_size_);
}

}  // namespace bitsmith
