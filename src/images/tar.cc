#include "images/tar.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/error.h"

namespace bitsmith {
namespace {

//     offset  bytes
//     0       100   name
//     124     12    size, octal digits
//     148     8     checksum: the sum of the header's bytes, these taken for spaces, octal
//     156     1     type: '0' or zero a file, '5' a folder, 'L' GNU's long name, 'x' pax records
//     257     5     "ustar"
//     345     155   what comes before the name, POSIX only ("ustar\0")
// Headers and contents start at multiples of 512; two blocks of zeros end the archive.
constexpr size_t kBlock = 512;

std::string_view field(const char* header, size_t offset, size_t size) {
  const std::string_view text(header + offset, size);
  return text.substr(0, text.find('\0'));
}

std::optional<uint64_t> octal(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (text.empty() || text.size() > 12) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '7') return std::nullopt;
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

bool good_checksum(const char* header) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    sum += i >= 148 && i < 156 ? uint64_t{' '} : static_cast<unsigned char>(header[i]);
  }
  return octal(field(header, 148, 8)) == sum;
}

// The record "path" of pax records "LENGTH KEY=VALUE\n"; nothing if there is none.
std::optional<std::string> pax_path(std::string_view records) {
  std::optional<std::string> path;
  while (!records.empty()) {
    const size_t space = records.find(' ');
    size_t length = 0;
    for (const char c : records.substr(0, std::min(space, size_t{9}))) {
      if (c < '0' || c > '9') return std::nullopt;
      length = length * 10 + static_cast<size_t>(c - '0');
    }
    if (space == std::string_view::npos || length <= space + 1 || length > records.size()) {
      return std::nullopt;
    }
    const std::string_view record = records.substr(space + 1, length - space - 2);
    if (record.starts_with("path=")) path = record.substr(5);
    records.remove_prefix(length);
  }
  return path;
}

}  // namespace

bool is_tar(std::span<const std::byte> bytes) {
  return bytes.size() >= kBlock && std::memcmp(bytes.data() + 257, "ustar", 5) == 0;
}

std::vector<TarEntry> read_tar(std::span<const std::byte> bytes, const std::string& file) {
  std::vector<TarEntry> entries;
  std::optional<std::string> long_name;
  size_t at = 0;
  while (at + kBlock <= bytes.size()) {
    const char* header = reinterpret_cast<const char*>(bytes.data()) + at;
    if (std::all_of(header, header + kBlock, [](char c) { return c == '\0'; })) return entries;
    if (!good_checksum(header)) {
      fail(ErrorCode::kCorrupt, "'{}': the tar header at byte {} is damaged", file, at);
    }
    const auto size = octal(field(header, 124, 12));
    at += kBlock;
    if (!size || *size > bytes.size() - at) {
      fail(ErrorCode::kCorrupt, "'{}': the entry before byte {} is longer than the archive", file,
           at);
    }
    const auto content = bytes.subspan(at, static_cast<size_t>(*size));
    const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
    const char type = header[156];
    if (type == 'L') {
      long_name = text.substr(0, text.find('\0'));
    } else if (type == 'x') {
      long_name = pax_path(text);
    } else {
      if (type == '0' || type == '\0') {
        std::string path(field(header, 0, 100));
        const std::string_view prefix = field(header, 345, 155);
        const bool posix = header[262] == '\0';
        if (posix && !prefix.empty()) path = std::string(prefix) + "/" + path;
        entries.push_back({long_name.value_or(path), content});
      }
      long_name.reset();
    }
    at += (content.size() + kBlock - 1) / kBlock * kBlock;
  }
  fail(ErrorCode::kCorrupt, "'{}': the archive has no end (truncated download?)", file);
}

}  // namespace bitsmith
