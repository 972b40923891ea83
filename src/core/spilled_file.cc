#include "core/spilled_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "core/error.h"

namespace bitsmith {

MappedFile spilled_file(size_t size, const std::function<void(std::span<std::byte>)>& fill) {
  if (size <= kSpilledBytes) return MappedFile::in_memory(size, fill);
  std::error_code none;
  std::string path = (std::filesystem::temp_directory_path(none) / "bitsmith-XXXXXX").string();
  struct TemporaryFile {
    int fd;
    const std::string& path;
    ~TemporaryFile() {
      if (fd < 0) return;
      ::close(fd);
      ::unlink(path.c_str());
    }
  } const file{::mkostemp(path.data(), O_CLOEXEC), path};
  const int reason =
      file.fd < 0 ? errno : ::posix_fallocate(file.fd, 0, static_cast<off_t>(size));
  void* const data =
      reason == 0 ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0)
                  : MAP_FAILED;
  if (data == MAP_FAILED) {
    fail(ErrorCode::kEnvironment,
         "cannot put {} MB of rearranged weights into '{}': {}; TMPDIR may name another folder",
         size >> 20, path, std::strerror(reason != 0 ? reason : errno));
  }
  struct Mapping {
    void* data;
    size_t size;
    ~Mapping() { ::munmap(data, size); }
  } const mapping{data, size};
  fill({static_cast<std::byte*>(data), size});
  return MappedFile(path);
}

}  // namespace bitsmith
