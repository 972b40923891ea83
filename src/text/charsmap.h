// SentencePiece's precompiled character map: Unicode normalisation as a table in the model file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bitsmith::text {

//   u32 LE n | n bytes: a double-array trie of u32 LE units | zero-terminated replacement strings
// The trie's value is the offset of the replacement for a key. One unit (as in darts-clone):
//   bit 31     set in the unit that holds a value; the value is in bits 0..30
//   bits 0..7  label, the byte that leads to this unit
//   bit 8      a value follows at the unit `offset` points to
//   bit 9      offset is shifted by 8
//   bits 10..30  offset, combined with the unit's position by exclusive or
class Charsmap {
 public:
  Charsmap() = default;  // maps nothing
  explicit Charsmap(std::string_view bytes);

  struct Mapped {
    size_t bytes;  // of the text that is replaced
    std::string_view replacement;
  };
  // The longest key that `text` starts with.
  std::optional<Mapped> find(std::string_view text) const;

 private:
  std::vector<uint32_t> units_;
  std::string strings_;
};

}  // namespace bitsmith::text
