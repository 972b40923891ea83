// Reading tokenizer_config.json: only the fields that change tokens.
#include "text/tokenizer_config.h"

#include <charconv>

#include "text/json_fields.h"

namespace bitsmith::text {
namespace {

constexpr std::string_view kFile = "tokenizer_config.json";

std::optional<bool> optional_bool(const Json& json, const char* key) {
  if (field_or_null(json, key, kFile).is_null()) return std::nullopt;
  return bool_field(json, key, kFile, false);
}

// A token is given as a string or as an object with "content".
std::string token_text(const Json& json, const char* key) {
  const Json& value = field_or_null(json, key, kFile);
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object()) return string_field(value, "content", kFile);
  wrong_type(value, key, kFile, "a string or an object");
}

AddedToken added_token(const std::string& key, const Json& json) {
  AddedToken token;
  const auto [end, status] = std::from_chars(key.data(), key.data() + key.size(), token.id);
  if (status != std::errc() || end != key.data() + key.size() || token.id < 0 ||
      token.id > kMaxTokenId) {
    fail(ErrorCode::kCorrupt, "{}: added_tokens_decoder has the id {}, expected 0 to {}", kFile,
         shown_text(key), kMaxTokenId);
  }
  token.content = string_field(json, "content", kFile);
  token.special = bool_field(json, "special", kFile, false);
  token.normalized = bool_field(json, "normalized", kFile, !token.special);
  token.lstrip = bool_field(json, "lstrip", kFile, false);
  token.rstrip = bool_field(json, "rstrip", kFile, false);
  token.single_word = bool_field(json, "single_word", kFile, false);
  return token;
}

}  // namespace

TokenizerConfig parse_tokenizer_config(std::string_view bytes) {
  TokenizerConfig config;
  if (bytes.empty()) return config;
  const Json json = parse_json_object(bytes, kFile);
  if (const Json& name = field_or_null(json, "tokenizer_class", kFile); name.is_string()) {
    config.tokenizer_class = name.get<std::string>();
  }
  config.add_bos_token = optional_bool(json, "add_bos_token");
  config.add_eos_token = optional_bool(json, "add_eos_token");
  config.add_prefix_space = optional_bool(json, "add_prefix_space");
  config.legacy = bool_field(json, "legacy", kFile, true);
  config.bos_token = token_text(json, "bos_token");
  config.eos_token = token_text(json, "eos_token");
  config.unk_token = token_text(json, "unk_token");
  config.pad_token = token_text(json, "pad_token");
  if (const Json& tokens = field_or_null(json, "added_tokens_decoder", kFile); !tokens.is_null()) {
    if (!tokens.is_object()) wrong_type(tokens, "added_tokens_decoder", kFile, "an object");
    for (const auto& [key, value] : tokens.items()) {
      config.added_tokens.push_back(added_token(key, value));
    }
  }
  return config;
}

const std::vector<std::string>& end_of_turn_tokens() {
  static const std::vector<std::string> kTokens = {"<|eot_id|>", "<|im_end|>", "<end_of_turn>",
                                                   "<|eom_id|>", "<|end|>"};
  return kTokens;
}

}  // namespace bitsmith::text
