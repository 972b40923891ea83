// Walks the trie with every index checked: the table comes from a file.
#include "text/charsmap.h"

#include <algorithm>

#include "core/error.h"

namespace bitsmith::text {
namespace {

uint32_t read_u32(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

}  // namespace

Charsmap::Charsmap(std::string_view bytes) {
  if (bytes.empty()) return;
  const uint32_t trie_bytes = bytes.size() < 4 ? 0 : read_u32(bytes);
  if (bytes.size() < 4 || trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes > bytes.size() - 4) {
    fail(ErrorCode::kCorrupt,
         "tokenizer.model: precompiled_charsmap has {} bytes and claims a trie of {}", bytes.size(),
         trie_bytes);
  }
  for (size_t at = 4; at < 4 + size_t{trie_bytes}; at += 4) {
    units_.push_back(read_u32(bytes.substr(at)));
  }
  strings_ = bytes.substr(4 + size_t{trie_bytes});
  // A replacement for one character that is longer than any of Unicode's would let a small file
  // blow up every text.
  constexpr size_t kMaxReplacementBytes = 256;
  for (size_t start = 0; start < strings_.size();) {
    const size_t end = std::min(strings_.find('\0', start), strings_.size());
    if (end - start > kMaxReplacementBytes) {
      fail(ErrorCode::kCorrupt,
           "tokenizer.model: precompiled_charsmap has a replacement of {} bytes, the limit is {}",
           end - start, kMaxReplacementBytes);
    }
    start = end + 1;
  }
}

std::optional<Charsmap::Mapped> Charsmap::find(std::string_view text) const {
  std::optional<Mapped> longest;
  if (units_.empty()) return longest;
  uint32_t at = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (at >= units_.size()) break;
    const uint32_t unit = units_[at];
    if ((unit & 0x800000FFu) != byte) break;
    at ^= offset_of(unit);
    if (at >= units_.size()) break;
    if ((unit & (1u << 8)) == 0) continue;
    const uint32_t start = units_[at] & 0x7FFFFFFFu;
    if (start >= strings_.size()) break;
    const size_t end = strings_.find('\0', start);
    longest = Mapped{i + 1, std::string_view(strings_).substr(start, end - start)};
  }
  return longest;
}

}  // namespace bitsmith::text
