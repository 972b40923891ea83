// Tokens that are matched in the text itself, before the model sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/prefix_index.h"
#include "text/tokenizer.h"

namespace bitsmith::text {

// The flags are those of Hugging Face's added_tokens.
struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;      // adds nothing to decoded text
  bool normalized = false;   // matched after the normalizer ran, not before
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // takes the white space after it along
  bool single_word = false;  // only where no word character touches it
};

// A part of a text: an added token, or what lies between two of them.
struct Segment {
  std::string_view text;
  std::optional<TokenId> token;
};

// Finds added tokens in a text, the longest at the leftmost position first.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // The parts of `text`, which must be valid UTF-8, in order and without empty ones.
  std::vector<Segment> split(std::string_view text) const;

 private:
  std::vector<AddedToken> tokens_;
  PrefixIndex index_;  // content -> position in tokens_
};

}  // namespace bitsmith::text
