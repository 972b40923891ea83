#include "formats/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "formats/json_text.h"
#include "text/gguf_words.h"
#include "text/normalizer.h"
#include "text/sentencepiece_file.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_config.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using text::PieceType;

constexpr const char* kPrefix = "tokenizer.ggml.";

std::string key_of(std::string_view name) { return kPrefix + std::string(name); }

const GgufArray* array_of(const Gguf& gguf, std::string_view name, bool strings, size_t count) {
  const GgufArray* array = gguf.array(key_of(name));
  if (array == nullptr) return nullptr;
  if ((array->type == GgufType::kString) != strings || (count != 0 && array->count != count)) {
    fail(ErrorCode::kCorrupt, "'{}': {} is an array of {} {}, expected {} {}", gguf.file,
         key_of(name), array->count, to_string(array->type), count,
         strings ? "strings" : "numbers");
  }
  return array;
}

// The vocabulary as it lies in the metadata.
struct Vocabulary {
  std::vector<std::string_view> tokens;
  std::vector<float> scores;     // all 0 if there are none
  std::vector<PieceType> types;  // all normal if there are none

  Vocabulary(const Gguf& gguf) {
    const GgufArray* list = array_of(gguf, "tokens", true, 0);
    if (list == nullptr || list->count == 0) {
      fail(ErrorCode::kCorrupt, "'{}' has no tokenizer.ggml.tokens", gguf.file);
    }
    if (list->count > static_cast<uint64_t>(text::kMaxTokenId)) {
      fail(ErrorCode::kCorrupt, "'{}' has {} tokens", gguf.file, list->count);
    }
    tokens = list->strings;
    scores.resize(tokens.size());
    types.resize(tokens.size(), PieceType::kNormal);
    if (const GgufArray* array = array_of(gguf, "scores", false, tokens.size())) {
      for (size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(array->number(i));
    }
    if (const GgufArray* array = array_of(gguf, "token_type", false, tokens.size())) {
      for (size_t i = 0; i < types.size(); ++i) {
        const double type = array->number(i);
        if (!(type >= 1 && type <= 6)) {
          fail(ErrorCode::kCorrupt, "'{}': token {} is of type {}, expected 1 to 6", gguf.file, i,
               type);
        }
        types[i] = static_cast<PieceType>(static_cast<int>(type));
      }
    }
  }
};

// The token that a key gives the id of, or an empty text.
std::string special_token(const Gguf& gguf, const Vocabulary& vocabulary, std::string_view name) {
  const auto id = gguf.integer(key_of(name));
  if (!id || *id < 0) return "";
  if (*id >= static_cast<int64_t>(vocabulary.tokens.size())) {
    fail(ErrorCode::kCorrupt, "'{}': {} is {}, there are {} tokens", gguf.file, key_of(name), *id,
         vocabulary.tokens.size());
  }
  return std::string(vocabulary.tokens[static_cast<size_t>(*id)]);
}

json added_token(std::string_view content, bool special) {
  return {{"content", content},   {"lstrip", false},     {"rstrip", false},
          {"single_word", false}, {"normalized", false}, {"special", special}};
}

// tokenizer_config.json; add_bos: what holds if the file does not say.
json config_of(const Gguf& gguf, const Vocabulary& vocabulary, bool add_bos) {
  json config = {{"add_bos_token", gguf.flag(key_of("add_bos_token")).value_or(add_bos)},
                 {"add_eos_token", gguf.flag(key_of("add_eos_token")).value_or(false)}};
  const auto put = [&](const char* key, const char* field) {
    const std::string token = special_token(gguf, vocabulary, key);
    if (!token.empty()) config[field] = token;
  };
  put("bos_token_id", "bos_token");
  put("eos_token_id", "eos_token");
  put("unknown_token_id", "unk_token");
  put("padding_token_id", "pad_token");
  if (const auto chat = gguf.text("tokenizer.chat_template")) config["chat_template"] = *chat;
  return config;
}

TokenizerFiles sentencepiece_files(const Gguf& gguf) {
  const Vocabulary vocabulary(gguf);
  text::SentencePieceFile file;
  file.algorithm = text::SentencePieceFile::Algorithm::kBpe;
  file.add_dummy_prefix = gguf.flag(key_of("add_space_prefix")).value_or(true);
  file.remove_extra_whitespaces = gguf.flag(key_of("remove_extra_whitespaces")).value_or(false);
  json config = config_of(gguf, vocabulary, true);
  config["tokenizer_class"] = "LlamaTokenizer";
  json& added = config["added_tokens_decoder"] = json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const PieceType type = vocabulary.types[id];
    std::string piece(vocabulary.tokens[id]);
    if (type == PieceType::kUserDefined) text::replace_all(piece, " ", text::kVisibleSpace);
    file.pieces.push_back({std::move(piece), vocabulary.scores[id], type});
    file.byte_fallback |= type == PieceType::kByte;
    const bool special = type == PieceType::kControl || type == PieceType::kUnknown;
    if (special && !vocabulary.tokens[id].empty()) {
      added[std::to_string(id)] = added_token(vocabulary.tokens[id], true);
    }
  }
  file.bos_piece = config.value("bos_token", "<s>");
  file.eos_piece = config.value("eos_token", "</s>");
  return {{"tokenizer.model", text::write_sentencepiece_file(file)},
          {"tokenizer_config.json", dump_json_text(config, "tokenizer_config.json")}};
}

json begin_of_text(const std::string& token, int64_t id) {
  const json sequence = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json special = {{"SpecialToken", {{"id", token}, {"type_id", 0}}}};
  return {
      {"type", "TemplateProcessing"},
      {"single", {special, sequence}},
      {"pair", {special, sequence, {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
      {"special_tokens",
       {{token, {{"id", token}, {"ids", json::array({id})}, {"tokens", json::array({token})}}}}}};
}

TokenizerFiles byte_level_files(const Gguf& gguf) {
  const Vocabulary vocabulary(gguf);
  const std::string pre = gguf.text(key_of("pre")).value_or("default");
  const text::GgufWords* words = text::find_gguf_words(pre);
  if (words == nullptr) {
    fail(ErrorCode::kUnsupported,
         "'{}': tokenizer.ggml.pre {} is not supported; a wrong cut into words would give wrong "
         "tokens",
         gguf.file, quoted_name(pre));
  }
  json pieces = json::object();
  json added = json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    const PieceType type = vocabulary.types[id];
    if (type == PieceType::kUnused || token.empty()) continue;
    if (type == PieceType::kNormal || type == PieceType::kByte) {
      if (!pieces.emplace(token, id).second) {
        fail(ErrorCode::kCorrupt, "'{}' has the token {} twice", gguf.file, quoted_name(token));
      }
      continue;
    }
    json entry = added_token(token, type != PieceType::kUserDefined);
    entry["id"] = id;
    added.push_back(std::move(entry));
  }
  json merges = json::array();
  if (const GgufArray* list = array_of(gguf, "merges", true, 0)) {
    for (const std::string_view merge : list->strings) merges.push_back(merge);
  }
  json config = config_of(gguf, vocabulary, words->add_bos);
  const std::string bos = config.value("bos_token", "");
  json post = nullptr;
  if (config["add_bos_token"] == true && !bos.empty()) {
    post = begin_of_text(bos, *gguf.integer(key_of("bos_token_id")));
  }
  const json model = {{"type", "BPE"},
                      {"vocab", std::move(pieces)},
                      {"merges", std::move(merges)},
                      {"ignore_merges", words->ignore_merges},
                      {"byte_fallback", false},
                      {"fuse_unk", false}};
  const json tokenizer = {
      {"version", "1.0"},
      {"added_tokens", std::move(added)},
      {"normalizer", nullptr},
      {"pre_tokenizer", words->pre_tokenizer()},
      {"post_processor", std::move(post)},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
      {"model", std::move(model)}};
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return {{"tokenizer.json", dump_json_text(tokenizer, "tokenizer.json")},
          {"tokenizer_config.json", dump_json_text(config, "tokenizer_config.json")}};
}

}  // namespace

TokenizerFiles tokenizer_from_gguf(const Gguf& gguf) {
  const auto model = gguf.text(key_of("model"));
  if (!model || *model == "none" || *model == "no_vocab") return {};
  if (*model == "llama") return sentencepiece_files(gguf);
  if (*model == "gpt2") return byte_level_files(gguf);
  fail(ErrorCode::kUnsupported,
       "'{}': the tokenizer {} is not supported; supported are llama and gpt2", gguf.file,
       quoted_name(*model));
}

}  // namespace bitsmith
