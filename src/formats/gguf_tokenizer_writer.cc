// Tokenizer files to GGUF metadata.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "formats/gguf_tokenizer.h"
#include "formats/json_text.h"
#include "text/gguf_words.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/sentencepiece_file.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_config.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using text::PieceType;

constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;
// Lower than every score of a token that a merge makes.
constexpr float kNeverMerged = -1e6F;

// A vocabulary on its way into metadata.
struct Vocabulary {
  struct Token {
    std::string content;
    float score = 0;
    PieceType type = PieceType::kUnused;
  };
  std::vector<Token> tokens;

  Token& at(int64_t id) {
    if (id < 0 || id > text::kMaxTokenId) {
      fail(ErrorCode::kCorrupt, "a token has the id {}", id);
    }
    if (static_cast<size_t>(id) >= tokens.size()) tokens.resize(static_cast<size_t>(id) + 1);
    return tokens[static_cast<size_t>(id)];
  }

  std::optional<uint32_t> find(const std::string& content) const {
    if (content.empty()) return std::nullopt;
    const auto found = std::ranges::find(tokens, content, &Token::content);
    if (found == tokens.end()) return std::nullopt;
    return static_cast<uint32_t>(found - tokens.begin());
  }

  void add(const text::AddedToken& token) {
    Token& entry = at(token.id);
    entry.content = token.content;
    if (entry.type == PieceType::kUnknown) return;
    entry.type = token.special ? PieceType::kControl : PieceType::kUserDefined;
  }

  // Ids without a token get names of their own: ggml wants one text for one id.
  void fill(int64_t size) {
    if (static_cast<int64_t>(tokens.size()) > size) {
      fail(ErrorCode::kCorrupt, "the tokenizer has {} tokens, the embedding {} rows", tokens.size(),
           size);
    }
    tokens.resize(static_cast<size_t>(size));
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (tokens[id].content.empty()) tokens[id] = {fmt::format("[PAD{}]", id)};
    }
  }
};

std::string file_of(const TokenizerFiles& files, const char* name) {
  const auto found = files.find(name);
  return found == files.end() ? std::string() : found->second;
}

// llama.cpp looks for user-defined tokens in the text as it is, where spaces are not yet visible.
void hide_spaces_of_user_defined(Vocabulary& vocabulary) {
  for (Vocabulary::Token& token : vocabulary.tokens) {
    if (token.type == PieceType::kUserDefined) {
      text::replace_all(token.content, text::kVisibleSpace, " ");
    }
  }
}

void put_vocabulary(const Vocabulary& vocabulary, bool scores, GgufMetadata& metadata) {
  std::vector<std::string> contents;
  std::vector<float> values;
  std::vector<int32_t> types;
  for (const Vocabulary::Token& token : vocabulary.tokens) {
    contents.push_back(token.content);
    values.push_back(token.score);
    types.push_back(static_cast<int32_t>(token.type));
  }
  metadata.emplace_back("tokenizer.ggml.tokens", std::move(contents));
  if (scores) metadata.emplace_back("tokenizer.ggml.scores", std::move(values));
  metadata.emplace_back("tokenizer.ggml.token_type", std::move(types));
}

// BOS and EOS as our tokenizer has them, the other special tokens as the configuration names them.
void put_special_tokens(const TokenizerFiles& files, const Vocabulary& vocabulary,
                        GgufMetadata& metadata) {
  const auto tokenizer = make_tokenizer(files);
  const auto put = [&](const char* key, std::optional<uint32_t> id) {
    if (id) metadata.emplace_back(std::string("tokenizer.ggml.") + key, *id);
  };
  const auto eos = tokenizer->eos();
  std::optional<uint32_t> bos_id, eos_id;
  if (tokenizer->bos()) bos_id = static_cast<uint32_t>(*tokenizer->bos());
  if (!eos.empty()) eos_id = static_cast<uint32_t>(eos.front());
  put("bos_token_id", bos_id);
  put("eos_token_id", eos_id);
  const std::string config_file = file_of(files, "tokenizer_config.json");
  const text::TokenizerConfig config = text::parse_tokenizer_config(config_file);
  put("unknown_token_id", vocabulary.find(config.unk_token));
  put("padding_token_id", vocabulary.find(config.pad_token));
  const auto plain = tokenizer->encode("", false);
  const auto around = tokenizer->encode("", true);
  const bool adds = around.size() > plain.size();
  metadata.emplace_back("tokenizer.ggml.add_bos_token",
                        adds && bos_id && around.front() == *tokenizer->bos());
  metadata.emplace_back("tokenizer.ggml.add_eos_token",
                        adds && eos_id && around.back() == eos.front());
  if (config_file.empty()) return;
  const json fields = parse_json_object_text(config_file, "tokenizer_config.json", kMaxFileBytes);
  const auto chat = fields.find("chat_template");
  if (chat != fields.end() && chat->is_string()) {
    metadata.emplace_back("tokenizer.chat_template", chat->get<std::string>());
  }
}

GgufMetadata from_sentencepiece(const TokenizerFiles& files, int64_t vocab_size) {
  const auto file = text::read_sentencepiece_file(file_of(files, "tokenizer.model"));
  if (file.algorithm != text::SentencePieceFile::Algorithm::kBpe) {
    fail(ErrorCode::kUnsupported,
         "tokenizer.model: only SentencePiece models of type BPE can be written as GGUF");
  }
  Vocabulary vocabulary;
  for (const auto& piece : file.pieces) {
    vocabulary.tokens.push_back({piece.text, piece.score, piece.type});
  }
  const text::TokenizerConfig config =
      text::parse_tokenizer_config(file_of(files, "tokenizer_config.json"));
  for (const text::AddedToken& token : config.added_tokens) vocabulary.add(token);
  hide_spaces_of_user_defined(vocabulary);
  vocabulary.fill(vocab_size);
  GgufMetadata metadata = {{"tokenizer.ggml.model", std::string("llama")},
                           {"tokenizer.ggml.pre", std::string("default")}};
  put_vocabulary(vocabulary, true, metadata);
  put_special_tokens(files, vocabulary, metadata);
  metadata.emplace_back("tokenizer.ggml.add_space_prefix", file.add_dummy_prefix);
  metadata.emplace_back("tokenizer.ggml.remove_extra_whitespaces", file.remove_extra_whitespaces);
  return metadata;
}

// ---- tokenizer.json ----

const json& field(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string type_of(const json& part) {
  const json& type = field(part, "type");
  return type.is_string() ? type.get<std::string>() : "";
}

// The steps of a part that may be a sequence.
std::vector<const json*> steps_of(const json& part, const char* list) {
  std::vector<const json*> steps;
  if (type_of(part) != "Sequence") {
    if (!part.is_null()) steps.push_back(&part);
    return steps;
  }
  for (const json& step : field(part, list)) steps.push_back(&step);
  return steps;
}

void read_pieces(const json& tokenizer, PieceType (*type)(const std::string&),
                 Vocabulary& vocabulary) {
  for (const auto& [piece, id] : field(field(tokenizer, "model"), "vocab").items()) {
    vocabulary.at(id.get<int64_t>()) = {piece, 0, type(piece)};
  }
  const json& unknown = field(field(tokenizer, "model"), "unk_token");
  if (unknown.is_string()) {
    if (const auto id = vocabulary.find(unknown.get<std::string>())) {
      vocabulary.at(*id).type = PieceType::kUnknown;
    }
  }
  for (const json& entry : field(tokenizer, "added_tokens")) {
    text::AddedToken token;
    token.id = static_cast<TokenId>(field(entry, "id").get<int64_t>());
    token.content = field(entry, "content").get<std::string>();
    token.special = field(entry, "special").is_boolean() && field(entry, "special").get<bool>();
    if (!token.content.empty()) vocabulary.add(token);
  }
}

std::pair<std::string, std::string> merge_of(const json& entry) {
  if (entry.is_array()) return {entry[0].get<std::string>(), entry[1].get<std::string>()};
  const std::string pair = entry.get<std::string>();
  const size_t space = pair.find(' ');
  return {pair.substr(0, space), pair.substr(space + 1)};
}

GgufMetadata from_byte_level(const TokenizerFiles& files, const json& tokenizer,
                             int64_t vocab_size) {
  const json& model = field(tokenizer, "model");
  const json& ignore = field(model, "ignore_merges");
  const text::GgufWords* words = text::find_gguf_words(field(tokenizer, "pre_tokenizer"),
                                                       ignore.is_boolean() && ignore.get<bool>());
  const std::string normalizer = type_of(field(tokenizer, "normalizer"));
  if (words == nullptr || (!normalizer.empty() && normalizer != "NFC")) {
    fail(ErrorCode::kUnsupported,
         "tokenizer.json: GGUF has no name for this way of cutting text into words; the file would "
         "give other tokens");
  }
  Vocabulary vocabulary;
  read_pieces(
      tokenizer, [](const std::string&) { return PieceType::kNormal; }, vocabulary);
  vocabulary.fill(vocab_size);
  std::vector<std::string> merges;
  for (const json& entry : field(model, "merges")) {
    const auto [left, right] = merge_of(entry);
    merges.push_back(left + ' ' + right);
  }
  GgufMetadata metadata = {{"tokenizer.ggml.model", std::string("gpt2")},
                           {"tokenizer.ggml.pre", std::string(words->name)}};
  put_vocabulary(vocabulary, false, metadata);
  metadata.emplace_back("tokenizer.ggml.merges", std::move(merges));
  put_special_tokens(files, vocabulary, metadata);
  return metadata;
}

// Whether a space is put before the text; nothing if the file does more than SentencePiece does.
std::optional<bool> space_prefix(const json& tokenizer) {
  bool prefix = false;
  for (const json* step : steps_of(field(tokenizer, "normalizer"), "normalizers")) {
    if (type_of(*step) == "Prepend") {
      prefix = true;
    } else if (type_of(*step) != "Replace") {
      return std::nullopt;
    }
  }
  for (const json* step : steps_of(field(tokenizer, "pre_tokenizer"), "pretokenizers")) {
    // Gemma's cuts at spaces, none of which the normalizer has left.
    const json& pattern = field(field(*step, "pattern"), "String");
    if (type_of(*step) == "Split" && pattern == " ") continue;
    if (type_of(*step) != "Metaspace") return std::nullopt;
    const json& scheme = field(*step, "prepend_scheme");
    prefix |= !(scheme.is_string() && scheme.get<std::string>() == "never");
  }
  return prefix;
}

// The pair that is merged first has the highest score: minus its rank.
void score_by_merges(const json& model, Vocabulary& vocabulary) {
  std::map<std::string, float> scores;
  float rank = 0;
  for (const json& entry : field(model, "merges")) {
    const auto [left, right] = merge_of(entry);
    scores.emplace(left + right, -rank);
    rank += 1;
  }
  for (Vocabulary::Token& token : vocabulary.tokens) {
    const auto found = scores.find(token.content);
    if (token.type != PieceType::kNormal) continue;
    token.score = found == scores.end() ? kNeverMerged : found->second;
  }
}

GgufMetadata from_byte_fallback(const TokenizerFiles& files, const json& tokenizer,
                                int64_t vocab_size) {
  const auto prefix = space_prefix(tokenizer);
  if (!prefix) {
    fail(ErrorCode::kUnsupported,
         "tokenizer.json: its normalizer or pre-tokenizer does more than put spaces, which a GGUF "
         "tokenizer of type llama cannot");
  }
  Vocabulary vocabulary;
  read_pieces(
      tokenizer,
      [](const std::string& piece) {
        return text::byte_of_piece(piece) ? PieceType::kByte : PieceType::kNormal;
      },
      vocabulary);
  score_by_merges(field(tokenizer, "model"), vocabulary);
  hide_spaces_of_user_defined(vocabulary);
  vocabulary.fill(vocab_size);
  GgufMetadata metadata = {{"tokenizer.ggml.model", std::string("llama")},
                           {"tokenizer.ggml.pre", std::string("default")}};
  put_vocabulary(vocabulary, true, metadata);
  put_special_tokens(files, vocabulary, metadata);
  metadata.emplace_back("tokenizer.ggml.add_space_prefix", *prefix);
  return metadata;
}

bool is_byte_level(const json& tokenizer) {
  const auto steps = steps_of(field(tokenizer, "pre_tokenizer"), "pretokenizers");
  return std::ranges::any_of(steps, [](const json* s) { return type_of(*s) == "ByteLevel"; });
}

}  // namespace

GgufMetadata tokenizer_to_gguf(const TokenizerFiles& files, int64_t vocab_size) {
  if (files.contains("tokenizer.model")) return from_sentencepiece(files, vocab_size);
  if (!files.contains("tokenizer.json")) return {};
  make_tokenizer(files);  // checks every field that is used below
  const json tokenizer =
      parse_json_object_text(file_of(files, "tokenizer.json"), "tokenizer.json", kMaxFileBytes);
  const std::string type = type_of(field(tokenizer, "model"));
  if (type == "Unigram") {
    fail(ErrorCode::kUnsupported, "tokenizer.json: a Unigram model cannot be written as GGUF");
  }
  return is_byte_level(tokenizer) ? from_byte_level(files, tokenizer, vocab_size)
                                  : from_byte_fallback(files, tokenizer, vocab_size);
}

}  // namespace bitsmith
