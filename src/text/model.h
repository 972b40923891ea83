// The part of a tokenizer that turns a word into tokens: a vocabulary and an algorithm.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace bitsmith::text {

// Pieces and their ids, both ways.
class Vocabulary {
 public:
  // file: its name, for errors
  explicit Vocabulary(std::string file) : file_(std::move(file)) {}

  // Fails when the piece or the id is taken, or the id is outside 0..kMaxTokenId.
  void add(std::string piece, int64_t id);

  std::optional<TokenId> id_of(std::string_view piece) const;
  // Empty for an unused id. Valid as long as the vocabulary.
  std::string_view piece_of(TokenId id) const;
  // One more than the largest id.
  TokenId size() const { return static_cast<TokenId>(by_id_.size()); }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::string file_;
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> by_piece_;
  std::vector<const std::string*> by_id_;  // points into by_piece_, null for an unused id
};

// The ids of "<0x00>" to "<0xFF>", where they exist.
class ByteFallback {
 public:
  ByteFallback() = default;
  explicit ByteFallback(const Vocabulary& vocabulary);

  // Appends the ids of the bytes, or returns false when one of them has none.
  bool append(std::string_view bytes, std::vector<TokenId>& ids) const;

 private:
  std::vector<TokenId> ids_;  // 256, -1 where there is none; empty: no byte has one
};

// The byte of a piece such as "<0x0A>", if it is one.
std::optional<unsigned char> byte_of_piece(std::string_view piece);

class Model {
 public:
  virtual ~Model() = default;
  // Appends the tokens of a word, which must be valid UTF-8.
  virtual void encode(std::string_view word, std::vector<TokenId>& ids) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  explicit Model(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

  Vocabulary vocabulary_;
  bool byte_fallback_ = false;
  ByteFallback bytes_;
};

// A character without a piece costs this many nats more than the rarest piece.
inline constexpr double kUnknownPenalty = 10;

// What a Unigram model is made from.
struct UnigramPieces {
  struct Entry {
    std::string piece;
    TokenId id;
    double score;  // log-probability, nats
  };
  std::vector<Entry> entries;
  double unknown_score = 0;  // of a character that no entry covers
  std::optional<TokenId> unknown;
};

// json: the "model" object of tokenizer.json. Other types than BPE and Unigram are refused by name.
std::unique_ptr<Model> make_model(const nlohmann::json& json);
std::unique_ptr<Model> make_bpe_model(const nlohmann::json& json);
std::unique_ptr<Model> make_unigram_model(const nlohmann::json& json);
std::unique_ptr<Model> make_unigram_model(Vocabulary vocabulary, UnigramPieces pieces,
                                          bool byte_fallback);

}  // namespace bitsmith::text
