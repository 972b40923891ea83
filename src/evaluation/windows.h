// A text cut into the windows that a model is measured on.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace bitsmith {

struct Windows {
  std::vector<std::vector<TokenId>> windows;  // each of two tokens or more
  uint64_t bytes = 0;                         // of text in them

  int64_t tokens() const;         // in all windows
  int64_t scored_tokens() const;  // all but the first of each window
};

// Tokenizes the whole text, without BOS and EOS, and cuts it into windows of `context` tokens that
// do not overlap. A last window that is not full is left out, unless it is the only one.
//   max_tokens: the text ends after as many tokens; 0: no limit
// Throws kInvalidArgument for a text of fewer than two tokens or a context below two.
Windows cut_windows(const Tokenizer& tokenizer, std::string_view text, int64_t context,
                    int64_t max_tokens = 0);

}  // namespace bitsmith
