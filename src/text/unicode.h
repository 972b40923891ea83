// UTF-8 and the Unicode properties that tokenizers ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bitsmith::text {

inline constexpr char32_t kReplacement = 0xFFFD;
inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

// One code point at a position of a text.
struct CodePoint {
  char32_t value;
  size_t bytes;  // 1 to 4; for a broken sequence its maximal valid start (Unicode 3.9, table 3-7)
  bool valid;    // false: value is U+FFFD
  bool incomplete;  // broken only because the text ends
};

// Reads the code point at `position`, which must be inside the text.
CodePoint read_code_point(std::string_view text, size_t position);

// The code point that ends at `position` (not 0) of valid UTF-8.
CodePoint code_point_before(std::string_view text, size_t position);

void append_utf8(std::string& out, char32_t code_point);

// The text with each maximal broken sequence replaced by one U+FFFD.
std::string repair_utf8(std::string_view text);

// Where the first broken sequence begins; nothing in valid UTF-8. One that the start or the end of
// the text cuts counts as valid, as `head -c` and `tail -c` make them.
std::optional<size_t> find_broken_utf8(std::string_view text);

size_t count_code_points(std::string_view valid_utf8);

// Repairs a byte stream that comes in arbitrary parts; holds back at most 3 bytes.
class Utf8Repairer {
 public:
  // replacement_per_byte: one U+FFFD for every broken byte, not one per broken sequence
  explicit Utf8Repairer(bool replacement_per_byte) : per_byte_(replacement_per_byte) {}
  std::string feed(std::string_view bytes);
  std::string finish();

 private:
  void replace(std::string& out, size_t broken_bytes) const;

  bool per_byte_;
  std::string held_;
};

// General categories L*, N*, P* and Unicode's White_Space property.
bool is_letter(char32_t c);
bool is_number(char32_t c);
bool is_punctuation(char32_t c);  // P*, and the ASCII symbols $+<=>^`|~
bool is_space(char32_t c);
// What \w means in Unicode regular expressions (UTS 18): alphabetic, mark, decimal digit,
// connector punctuation, join control.
bool is_word(char32_t c);

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// The text, which must be valid UTF-8, in a normalisation form.
std::string normalize(std::string_view valid_utf8, UnicodeForm form);

}  // namespace bitsmith::text
