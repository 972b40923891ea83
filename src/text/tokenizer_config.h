// What tokenizer_config.json says beyond the vocabulary file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"

namespace bitsmith::text {

struct TokenizerConfig {
  std::string tokenizer_class;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_prefix_space;
  bool legacy = true;  // Llama's SentencePiece: a space is put before text after a special token
  std::string bos_token, eos_token, unk_token, pad_token;  // empty: not given
  std::vector<AddedToken> added_tokens;                    // added_tokens_decoder, by id
};

// The largest id a tokenizer file may use; no vocabulary comes near it, and tables by id stay
// small.
inline constexpr TokenId kMaxTokenId = (TokenId{1} << 22) - 1;

// bytes: the file, or empty when there is none.
TokenizerConfig parse_tokenizer_config(std::string_view bytes);

// Tokens that end a turn or a text in chat models, besides the configured EOS.
const std::vector<std::string>& end_of_turn_tokens();

}  // namespace bitsmith::text
