#include "core/system_memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace bitsmith {
namespace {

namespace fs = std::filesystem;

// The number after `key` in a file of lines "key number"; nothing if it is not there.
std::optional<uint64_t> number_after(const fs::path& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    uint64_t number = 0;
    if (word == key && file >> number) return number;
  }
  return std::nullopt;
}

// A file that holds one number; nothing for "max".
std::optional<uint64_t> number_in(const fs::path& path) {
  uint64_t number = 0;
  if (std::ifstream(path) >> number) return number;
  return std::nullopt;
}

// Of the control group `group` alone (version 2 of the interface).
std::optional<uint64_t> left_in(const fs::path& group) {
  const auto limit = number_in(group / "memory.max");
  const auto used = number_in(group / "memory.current");
  if (!limit || !used) return std::nullopt;
  const uint64_t cached = number_after(group / "memory.stat", "file").value_or(0);
  const uint64_t needed = *used - std::min(*used, cached);
  return *limit - std::min(*limit, needed);
}

}  // namespace

uint64_t peak_memory_bytes() {
  return number_after("/proc/self/status", "VmHWM:").value_or(0) * 1024;
}

uint64_t available_memory_bytes() {
  uint64_t available = number_after("/proc/meminfo", "MemAvailable:").value_or(0) * 1024;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;
    // The group and all those above it.
    fs::path group = line.substr(4);
    while (true) {
      if (const auto left = left_in("/sys/fs/cgroup" / group)) {
        available = std::min(available, *left);
      }
      if (group.empty()) break;
      group = group.parent_path();
    }
  }
  return available;
}

}  // namespace bitsmith
