// Byte-pair encoding: characters are merged pair by pair, the pair learned first going first.
#include <algorithm>

#include "text/bpe_merge.h"
#include "text/json_fields.h"
#include "text/model.h"
#include "text/tokenizer_config.h"

namespace bitsmith::text {
namespace {

constexpr std::string_view kWhere = "tokenizer.json: model";

// The merge of a pair of tokens: an open-addressing table, since a text asks it three times per
// character.
class MergeTable {
 public:
  void reserve(size_t merges) {
    size_t slots = 16;
    while (slots < merges * 2) slots *= 2;
    slots_.assign(slots, Slot{});
  }
  // A later entry for the same pair replaces the earlier one.
  void set(TokenId left, TokenId right, Merge merge) {
    Slot& slot = slots_[find(key_of(left, right))];
    slot = {key_of(left, right), merge};
  }
  std::optional<Merge> get(TokenId left, TokenId right) const {
    const Slot& slot = slots_[find(key_of(left, right))];
    if (slot.key == kFree) return std::nullopt;
    return slot.merge;
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};  // ids are below 2^22, so no key is this
  struct Slot {
    uint64_t key = kFree;
    Merge merge{};
  };
  static uint64_t key_of(TokenId left, TokenId right) {
    return (static_cast<uint64_t>(left) << 32) | static_cast<uint64_t>(right);
  }
  size_t find(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    size_t at = static_cast<size_t>(hash ^ (hash >> 32)) & mask;
    while (slots_[at].key != kFree && slots_[at].key != key) at = (at + 1) & mask;
    return at;
  }
  std::vector<Slot> slots_;
};

class BpeModel : public Model {
 public:
  explicit BpeModel(const Json& json);
  void encode(std::string_view word, std::vector<TokenId>& ids) const override;

 private:
  void read_vocabulary(const Json& json);
  void read_merges(const Json& json);
  // One token per character, before any merge.
  std::vector<TokenId> initial_tokens(std::string_view word) const;

  struct Ends {
    char32_t first = 0, last = 0;
  };
  std::vector<Ends> ends_;  // by id: the first and last character of each piece
  MergeTable merges_;
  Seams seams_;
  std::optional<TokenId> unknown_;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;  // a word that is in the vocabulary is one token, merges or not
};

BpeModel::BpeModel(const Json& json) : Model(Vocabulary("tokenizer.json")) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& value = field_or_null(json, key, kWhere);
    if (!value.is_null() && !string_field(json, key, kWhere).empty()) {
      fail(ErrorCode::kUnsupported, "{}: BPE with '{}' is not supported", kWhere, key);
    }
  }
  const Json& dropout = field_or_null(json, "dropout", kWhere);
  if (dropout.is_number() ? dropout.get<double>() != 0 : !dropout.is_null()) {
    fail(ErrorCode::kUnsupported, "{}: BPE with dropout gives random tokens; set it to null",
         kWhere);
  }
  read_vocabulary(json);
  read_merges(json);
  fuse_unknown_ = bool_field(json, "fuse_unk", kWhere, false);
  ignore_merges_ = bool_field(json, "ignore_merges", kWhere, false);
  byte_fallback_ = bool_field(json, "byte_fallback", kWhere, false);
  if (byte_fallback_) bytes_ = ByteFallback(vocabulary_);
  if (!field_or_null(json, "unk_token", kWhere).is_null()) {
    // A file may name an unknown token that it lacks: text outside the vocabulary is then dropped.
    unknown_ = vocabulary_.id_of(string_field(json, "unk_token", kWhere));
  }
}

void BpeModel::read_vocabulary(const Json& json) {
  const Json& vocabulary = field_or_null(json, "vocab", kWhere);
  if (!vocabulary.is_object()) wrong_type(vocabulary, "vocab", kWhere, "an object");
  for (const auto& [piece, id] : vocabulary.items()) {
    vocabulary_.add(piece, checked_integer(id, 0, kMaxTokenId, "vocab", kWhere));
  }
  ends_.resize(static_cast<size_t>(vocabulary_.size()));
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view piece = vocabulary_.piece_of(id);
    if (piece.empty()) continue;
    ends_[static_cast<size_t>(id)] = {read_code_point(piece, 0).value,
                                      code_point_before(piece, piece.size()).value};
  }
}

void BpeModel::read_merges(const Json& json) {
  const Json& list = array_field(json, "merges", kWhere);
  merges_.reserve(list.size());
  int32_t rank = 0;
  for (const Json& entry : list) {
    std::string_view left, right;
    if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      left = entry[0].get_ref<const std::string&>();
      right = entry[1].get_ref<const std::string&>();
    } else if (entry.is_string()) {
      const std::string_view pair = entry.get_ref<const std::string&>();
      const size_t space = pair.find(' ');
      if (space == std::string_view::npos || pair.find(' ', space + 1) != std::string_view::npos) {
        fail(ErrorCode::kCorrupt, "{}: merge {} is {}, expected two pieces and one space between",
             kWhere, rank, shown_text(pair));
      }
      left = pair.substr(0, space);
      right = pair.substr(space + 1);
    } else {
      fail(ErrorCode::kCorrupt, "{}: merge {} is neither \"a b\" nor [\"a\", \"b\"]", kWhere, rank);
    }
    const std::string merged = std::string(left) + std::string(right);
    const auto a = vocabulary_.id_of(left), b = vocabulary_.id_of(right);
    const auto result = vocabulary_.id_of(merged);
    if (!a || !b || !result) {
      fail(ErrorCode::kCorrupt, "{}: merge {} needs the piece {}, which 'vocab' lacks", kWhere,
           rank,
           shown_text(!a   ? left
                      : !b ? right
                           : merged));
    }
    merges_.set(*a, *b, {rank, *result});
    seams_.allow(ends_[static_cast<size_t>(*a)].last, ends_[static_cast<size_t>(*b)].first);
    ++rank;
  }
}

std::vector<TokenId> BpeModel::initial_tokens(std::string_view word) const {
  std::vector<TokenId> ids;
  ids.reserve(word.size());
  bool unknown_pending = false;
  for (size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, read_code_point(word, at).bytes);
    at += character.size();
    if (const auto id = vocabulary_.id_of(character)) {
      if (unknown_pending) ids.push_back(*unknown_);
      unknown_pending = false;
      ids.push_back(*id);
    } else if (byte_fallback_ && bytes_.append(character, ids)) {
      // The unknown token of an earlier character stays pending, as in Hugging Face's library; it
      // matters only for files with some byte pieces and not all.
    } else if (unknown_) {
      if (unknown_pending && !fuse_unknown_) ids.push_back(*unknown_);
      unknown_pending = true;
    }
  }
  if (unknown_pending) ids.push_back(*unknown_);
  return ids;
}

void BpeModel::encode(std::string_view word, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    if (const auto whole = vocabulary_.id_of(word)) {
      ids.push_back(*whole);
      return;
    }
  }
  // Positions are 32-bit; a longer word is cut, far from anything a model was trained on.
  constexpr size_t kMaxWordBytes = size_t{1} << 30;
  while (!word.empty()) {
    size_t part = std::min(word.size(), kMaxWordBytes);
    while (part < word.size() && (static_cast<unsigned char>(word[part]) & 0xC0) == 0x80) --part;
    std::vector<Symbol> symbols;
    for (const TokenId id : initial_tokens(word.substr(0, part))) {
      const auto index = static_cast<int32_t>(symbols.size());
      symbols.push_back({id, index, index + 1});
    }
    const auto joinable = [&](const Symbol& left, const Symbol& right) {
      return seams_.allowed(ends_[static_cast<size_t>(left.id)].last,
                            ends_[static_cast<size_t>(right.id)].first);
    };
    const auto find = [&](const Symbol& left, const Symbol& right) {
      return merges_.get(left.id, right.id);
    };
    symbols = merge_symbols(std::move(symbols), joinable, find);
    for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
    word.remove_prefix(part);
  }
}

}  // namespace

std::unique_ptr<Model> make_bpe_model(const Json& json) { return std::make_unique<BpeModel>(json); }

}  // namespace bitsmith::text
