// Finds which of many strings a text continues with at a position.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bitsmith::text {

// A sorted array searched byte by byte: its memory is that of the strings, however hostile they
// are, where a trie would need a node per byte.
class PrefixIndex {
 public:
  PrefixIndex() { begin_.fill(0); }

  // entries: (string, value); empty strings are left out, the last of equal strings wins.
  explicit PrefixIndex(std::vector<std::pair<std::string, int32_t>> entries)
      : entries_(std::move(entries)) {
    std::erase_if(entries_, [](const auto& e) { return e.first.empty(); });
    std::stable_sort(entries_.begin(), entries_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    size_t kept = 0;
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (i + 1 < entries_.size() && entries_[i].first == entries_[i + 1].first) continue;
      if (kept != i) entries_[kept] = std::move(entries_[i]);
      ++kept;
    }
    entries_.resize(kept);
    size_t at = 0;
    for (size_t byte = 0; byte < 256; ++byte) {
      begin_[byte] = at;
      while (at < entries_.size() && byte_of(at, 0) == byte) ++at;
    }
    begin_[256] = at;
  }

  bool empty() const { return entries_.empty(); }

  // Calls visit(bytes, value) for each entry that `text` has at `position`, shortest first.
  // O(length of the longest match · log entries).
  template <class Visit>
  void for_each_match(std::string_view text, size_t position, Visit&& visit) const {
    if (position >= text.size()) return;
    const auto first = static_cast<unsigned char>(text[position]);
    size_t low = begin_[first], high = begin_[first + size_t{1}];
    for (size_t depth = 1; low < high; ++depth) {
      // Entries low..high share their first `depth` bytes with the text; the shortest comes first.
      if (entries_[low].first.size() == depth) {
        visit(depth, entries_[low].second);
        if (++low == high) return;
      }
      if (position + depth >= text.size()) return;
      const auto byte = static_cast<unsigned char>(text[position + depth]);
      low = boundary(low, high, depth, byte);
      high = boundary(low, high, depth, byte + 1u);
    }
  }

 private:
  unsigned byte_of(size_t entry, size_t depth) const {
    return static_cast<unsigned char>(entries_[entry].first[depth]);
  }
  // The first entry in [low, high) whose byte at `depth` is at least `byte`.
  size_t boundary(size_t low, size_t high, size_t depth, unsigned byte) const {
    while (low < high) {
      const size_t middle = low + (high - low) / 2;
      if (byte_of(middle, depth) < byte) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  std::vector<std::pair<std::string, int32_t>> entries_;
  std::array<size_t, 257> begin_{};  // entries_ by first byte
};

}  // namespace bitsmith::text
