// The regular expressions that byte-level tokenizers cut text with, matched by hand.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace bitsmith::text {

// The known expressions are one family. In the order in which alternatives are tried:
//   's 't 're 've 'm 'll 'd        contractions
//   a run of letters               after one optional character
//   a run of numbers               after an optional space, or at most a few of them
//   a run of anything else         after an optional space
//   white space                    a run leaves its last character to what follows, if that is no
//                                  white space: \s+(?!\S)
struct SplitRegex {
  bool any_case_contractions = false;  // (?i:...)
  // What may come before letters: only a space, or [^\r\n\p{L}\p{N}].
  bool any_prefix_before_letters = false;
  // 0: " ?\p{N}+", else "\p{N}{1,n}".
  size_t max_digits = 0;
  // "[\r\n]*" after symbols, and "\s*[\r\n]+" before the other white space alternatives.
  bool keeps_newlines = false;

  // The end of the match that starts at `position`, which is inside `text` (valid UTF-8). There is
  // always a match: every character is in one alternative.
  size_t match_end(std::string_view text, size_t position) const;

  friend bool operator==(const SplitRegex&, const SplitRegex&) = default;
};

inline constexpr SplitRegex kGpt2Split{};
inline constexpr SplitRegex kLlama3Split{true, true, 3, true};
inline constexpr SplitRegex kQwen2Split{true, true, 1, true};

// The matcher for an expression written as in tokenizer.json; nothing when it is not known.
std::optional<SplitRegex> find_split_regex(std::string_view expression);

// The expression for one of the matchers above.
std::string_view expression_of(const SplitRegex& split);

}  // namespace bitsmith::text
