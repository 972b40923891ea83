#include "core/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "core/error.h"

namespace bitsmith {
namespace {

[[noreturn]] void fail_write(const std::filesystem::path& path) {
  fail(ErrorCode::kEnvironment, "cannot write '{}': {}", path.string(), std::strerror(errno));
}

// Makes a rename in the folder durable.
void sync_folder_of(const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : ".";
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

std::filesystem::path temporary_name(const std::filesystem::path& target) {
  return target.string() + fmt::format(".tmp{}", ::getpid());
}

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& target)
    : target_(target), temporary_(temporary_name(target)) {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_write(target_);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

void OutputFile::write(std::span<const std::byte> bytes) {
  const uint64_t before = written_;
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), std::min<size_t>(bytes.size(), size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write(target_);
    written_ += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
#ifdef SYNC_FILE_RANGE_WRITE  // Linux
  // The disk begins while the next bytes are computed: commit() has less to wait for.
  constexpr uint64_t kBegin = uint64_t{32} << 20;
  if (written_ / kBegin != before / kBegin) {
    ::sync_file_range(fd_, 0, 0, SYNC_FILE_RANGE_WRITE);
  }
#endif
}

void OutputFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void OutputFile::commit() {
  if (::fsync(fd_) != 0) fail_write(target_);
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0 || ::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary_.c_str());
    errno = reason;
    fail_write(target_);
  }
  sync_folder_of(target_);
}

void move_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail_write(to);
  sync_folder_of(to);
}

void check_writable(const std::filesystem::path& target) {
  if (target.empty()) fail(ErrorCode::kInvalidArgument, "the name of the output is empty");
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored)) {
    fail(ErrorCode::kEnvironment, "cannot write '{}': it is a folder; name a file",
         target.string());
  }
  if (target.has_parent_path() && !std::filesystem::exists(target.parent_path(), ignored)) {
    fail(ErrorCode::kEnvironment, "cannot write '{}': there is no folder '{}'; make it first",
         target.string(), target.parent_path().string());
  }
  const std::filesystem::path probe = temporary_name(target);
  const int fd = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) fail_write(target);
  ::close(fd);
  ::unlink(probe.c_str());
}

std::string read_file(const std::filesystem::path& path, uint64_t limit) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    fail(ErrorCode::kNotFound, "'{}' is not there", path.string());
  }
  if (!std::filesystem::is_regular_file(path, ignored)) {
    fail(ErrorCode::kEnvironment, "cannot read '{}': it is not a regular file", path.string());
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    fail(ErrorCode::kEnvironment, "cannot read '{}': {}", path.string(), std::strerror(errno));
  }
  const uint64_t size = std::filesystem::file_size(path);
  if (size > limit) {
    fail(ErrorCode::kCorrupt, "'{}' has {} bytes; at most {} are read", path.string(), size, limit);
  }
  std::string content(size, '\0');
  file.read(content.data(), static_cast<std::streamsize>(size));
  if (static_cast<uint64_t>(file.gcount()) != size) {
    fail(ErrorCode::kEnvironment, "'{}' ended after {} of {} bytes", path.string(), file.gcount(),
         size);
  }
  return content;
}

}  // namespace bitsmith
