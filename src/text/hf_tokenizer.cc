// The pipeline of tokenizer.json: added tokens -> normalizer -> added tokens found in normalized
// text -> pre-tokenizer -> model -> post-processor; and the decoder for the way back.
#include "text/hf_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "text/decoder.h"
#include "text/json_fields.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_config.h"

namespace bitsmith::text {
namespace {

constexpr std::string_view kFile = "tokenizer.json";

// Words repeat: the tokens of each are computed once per text. Lives for one encode() call, so that
// encode() is free of shared state.
class WordCache {
 public:
  explicit WordCache(const Model& model) : model_(model) {}

  void append(const std::string& word, std::vector<TokenId>& ids) {
    constexpr size_t kMaxCachedBytes = 64;  // longer words hardly repeat
    if (word.size() > kMaxCachedBytes) {
      model_.encode(word, ids);
      return;
    }
    const auto [entry, is_new] = tokens_.try_emplace(word);
    if (is_new) model_.encode(word, entry->second);
    ids.insert(ids.end(), entry->second.begin(), entry->second.end());
  }

 private:
  const Model& model_;
  std::unordered_map<std::string, std::vector<TokenId>> tokens_;
};

class HfTokenizer : public Tokenizer {
 public:
  HfTokenizer(const Json& json, const TokenizerConfig& config);

  std::vector<TokenId> encode(std::string_view text, bool add_special) const override;
  int64_t vocab_size() const override { return size_; }
  std::optional<TokenId> bos() const override { return bos_; }
  std::vector<TokenId> eos() const override { return eos_; }
  std::string piece(TokenId id) const override;
  std::string token_bytes(TokenId id, bool first) const override;
  TextRule text_rule() const override { return decoder_.text_rule(); }

 private:
  void read_added_tokens(const Json& json);
  void choose_bos_and_eos(const TokenizerConfig& config);
  void apply_config_to_affixes(const TokenizerConfig& config);
  std::optional<TokenId> id_of(std::string_view content) const;
  // The first of the names that is a token.
  std::optional<TokenId> first_known(std::initializer_list<std::string_view> names) const;
  void encode_words(std::string_view text, bool at_start, WordCache& cache,
                    std::vector<TokenId>& ids) const;

  std::unique_ptr<Model> model_;
  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  Decoder decoder_;
  Affixes affixes_;
  std::unordered_map<TokenId, AddedToken> added_;
  std::unordered_map<std::string, TokenId> added_ids_;
  AddedTokenMatcher raw_matcher_;         // finds tokens in the text as given
  AddedTokenMatcher normalized_matcher_;  // finds tokens in the normalized text
  int64_t size_ = 0;
  std::optional<TokenId> bos_;
  std::vector<TokenId> eos_;
};

HfTokenizer::HfTokenizer(const Json& json, const TokenizerConfig& config) {
  model_ = make_model(field_or_null(json, "model", kFile));
  normalizer_ = make_normalizer(field_or_null(json, "normalizer", kFile));
  pre_tokenizer_ = make_pre_tokenizer(field_or_null(json, "pre_tokenizer", kFile));
  decoder_ = Decoder(field_or_null(json, "decoder", kFile));
  affixes_ = read_post_processor(field_or_null(json, "post_processor", kFile));
  size_ = model_->vocabulary().size();
  if (!field_or_null(json, "added_tokens", kFile).is_null()) {
    read_added_tokens(array_field(json, "added_tokens", kFile));
  }
  choose_bos_and_eos(config);
  apply_config_to_affixes(config);
  for (const std::vector<TokenId>* ids : {&affixes_.prefix, &affixes_.suffix}) {
    for (const TokenId id : *ids) {
      if (id >= size_) {
        fail(ErrorCode::kCorrupt, "{}: post_processor adds the token {}, the vocabulary has {}",
             kFile, id, size_);
      }
    }
  }
}

void HfTokenizer::read_added_tokens(const Json& json) {
  constexpr std::string_view kWhere = "tokenizer.json: added_tokens";
  std::vector<AddedToken> raw, normalized;
  for (const Json& entry : json) {
    AddedToken token;
    token.content = string_field(entry, "content", kWhere);
    token.id = static_cast<TokenId>(
        checked_integer(field_or_null(entry, "id", kWhere), 0, kMaxTokenId, "id", kWhere));
    token.special = bool_field(entry, "special", kWhere, false);
    token.normalized = bool_field(entry, "normalized", kWhere, !token.special);
    token.lstrip = bool_field(entry, "lstrip", kWhere, false);
    token.rstrip = bool_field(entry, "rstrip", kWhere, false);
    token.single_word = bool_field(entry, "single_word", kWhere, false);
    if (token.content.empty()) continue;
    const std::optional<TokenId> known = id_of(token.content);
    if (known && *known != token.id) {
      fail(ErrorCode::kCorrupt, "{}: {} has two ids, {} and {}", kWhere, shown_text(token.content),
           *known, token.id);
    }
    if (const std::string other = piece(token.id); !other.empty() && other != token.content) {
      fail(ErrorCode::kCorrupt, "{}: the id {} is given to both {} and {}", kWhere, token.id,
           shown_text(other), shown_text(token.content));
    }
    size_ = std::max(size_, int64_t{token.id} + 1);
    added_ids_[token.content] = token.id;
    added_[token.id] = token;
    if (token.normalized) {
      // What is looked for in normalized text is the normalized content.
      if (normalizer_) normalizer_->apply(token.content);
      normalized.push_back(std::move(token));
    } else {
      raw.push_back(std::move(token));
    }
  }
  raw_matcher_ = AddedTokenMatcher(std::move(raw));
  normalized_matcher_ = AddedTokenMatcher(std::move(normalized));
}

std::optional<TokenId> HfTokenizer::id_of(std::string_view content) const {
  if (content.empty()) return std::nullopt;
  const auto found = added_ids_.find(std::string(content));
  return found != added_ids_.end() ? found->second : model_->vocabulary().id_of(content);
}

std::optional<TokenId> HfTokenizer::first_known(
    std::initializer_list<std::string_view> names) const {
  for (const std::string_view name : names) {
    if (const auto id = id_of(name)) return id;
  }
  return std::nullopt;
}

void HfTokenizer::choose_bos_and_eos(const TokenizerConfig& config) {
  bos_ = id_of(config.bos_token);
  if (!bos_ && !affixes_.prefix.empty()) bos_ = affixes_.prefix.front();
  if (!bos_) bos_ = first_known({"<s>", "<|begin_of_text|>", "<bos>"});

  std::optional<TokenId> eos = id_of(config.eos_token);
  if (!eos && !affixes_.suffix.empty()) eos = affixes_.suffix.back();
  if (!eos) eos = first_known({"</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>"});
  if (eos) eos_.push_back(*eos);
  for (const std::string& content : end_of_turn_tokens()) {
    const auto id = id_of(content);
    if (id && std::find(eos_.begin(), eos_.end(), *id) == eos_.end()) eos_.push_back(*id);
  }
}

// Llama's and Gemma's tokenizer classes rebuild the post-processor from add_bos_token and
// add_eos_token; for the other classes the file stands as it is.
void HfTokenizer::apply_config_to_affixes(const TokenizerConfig& config) {
  const std::string& name = config.tokenizer_class;
  const bool rebuilds =
      name.starts_with("Llama") || name.starts_with("CodeLlama") || name.starts_with("Gemma");
  if (!rebuilds || (!config.add_bos_token && !config.add_eos_token)) return;
  const bool add_bos = config.add_bos_token.value_or(!affixes_.prefix.empty());
  const bool add_eos = config.add_eos_token.value_or(!affixes_.suffix.empty());
  affixes_ = {};
  if (add_bos && bos_) affixes_.prefix.push_back(*bos_);
  if (add_eos && !eos_.empty()) affixes_.suffix.push_back(eos_.front());
}

void HfTokenizer::encode_words(std::string_view text, bool at_start, WordCache& cache,
                               std::vector<TokenId>& ids) const {
  if (!pre_tokenizer_) {
    model_->encode(text, ids);
    return;
  }
  std::vector<Word> words;
  pre_tokenizer_->cut({std::string(text), at_start}, words);
  for (const Word& word : words) cache.append(word.text, ids);
}

std::vector<TokenId> HfTokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<TokenId> ids;
  if (add_special) ids = affixes_.prefix;
  WordCache cache(*model_);
  const std::string valid = repair_utf8(text);
  for (const Segment& segment : raw_matcher_.split(valid)) {
    if (segment.token) {
      ids.push_back(*segment.token);
      continue;
    }
    const bool at_start = segment.text.data() == valid.data();
    std::string normal(segment.text);
    if (normalizer_) normalizer_->apply(normal);
    for (const Segment& part : normalized_matcher_.split(normal)) {
      if (part.token) {
        ids.push_back(*part.token);
      } else {
        encode_words(part.text, at_start && part.text.data() == normal.data(), cache, ids);
      }
    }
  }
  if (add_special) ids.insert(ids.end(), affixes_.suffix.begin(), affixes_.suffix.end());
  return ids;
}

std::string HfTokenizer::piece(TokenId id) const {
  const auto found = added_.find(id);
  return found != added_.end() ? found->second.content
                               : std::string(model_->vocabulary().piece_of(id));
}

std::string HfTokenizer::token_bytes(TokenId id, bool first) const {
  const auto found = added_.find(id);
  if (found != added_.end() && found->second.special) return "";
  const std::string text = piece(id);
  return text.empty() ? "" : decoder_.bytes_of(text, first);
}

}  // namespace

std::unique_ptr<Tokenizer> make_hf_tokenizer(const std::string& json, const std::string& config) {
  return std::make_unique<HfTokenizer>(parse_json_object(json, kFile),
                                       parse_tokenizer_config(config));
}

}  // namespace bitsmith::text
