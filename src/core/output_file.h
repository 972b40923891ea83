// A file that appears whole under its name or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace bitsmith {

// Writes under a temporary name beside the target; commit() syncs and renames. Without commit() the
// destructor removes the temporary file. Every failed call throws kEnvironment with the reason
// ("No space left on device") and the path.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& target);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  uint64_t written() const { return written_; }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int fd_ = -1;
  uint64_t written_ = 0;
};

// Gives a finished file its name, in the same file system; a file of that name is replaced at once.
void move_file(const std::filesystem::path& from, const std::filesystem::path& to);

// Throws, before any work starts, kEnvironment if a file cannot be made at `target`, and
// kInvalidArgument if that is empty.
void check_writable(const std::filesystem::path& target);

// Reads a whole file of at most `limit` bytes; kCorrupt if it is larger.
std::string read_file(const std::filesystem::path& path, uint64_t limit);

}  // namespace bitsmith
