// Files that may be compressed by gzip.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

namespace bitsmith {

// The content of a file and what keeps it alive: mapped, or inflated if it starts with gzip's magic
// number. Inflated content is at most `limit` bytes (kCorrupt beyond that).
struct FileContent {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};
FileContent open_content(const std::filesystem::path& path, uint64_t limit);

// `bytes` as one gzip member without name or time, as small as zlib makes it: the same for the same
// version of zlib.
std::vector<std::byte> deflate_gzip(std::span<const std::byte> bytes);

// One gzip member to its end; kCorrupt if it is damaged, longer than `limit`, or followed by bytes.
std::vector<std::byte> inflate_gzip(std::span<const std::byte> bytes, uint64_t limit,
                                    const std::string& file);

}  // namespace bitsmith
