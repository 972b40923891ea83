// Tar archives, read where they lie.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace bitsmith {

struct TarEntry {
  std::string path;
  std::span<const std::byte> bytes;  // in the archive
};

bool is_tar(std::span<const std::byte> bytes);

// The regular files of an archive in its order (POSIX ustar; long names as GNU tar or pax write
// them). Everything else in it is passed over. kCorrupt if a header's checksum or size is wrong.
std::vector<TarEntry> read_tar(std::span<const std::byte> bytes, const std::string& file);

}  // namespace bitsmith
