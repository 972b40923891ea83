// Vocabulary tables, byte fallback, and the choice between model types.
#include "text/model.h"

#include <fmt/format.h>

#include "text/json_fields.h"
#include "text/tokenizer_config.h"

namespace bitsmith::text {

void Vocabulary::add(std::string piece, int64_t id) {
  if (id < 0 || id > kMaxTokenId) {
    fail(ErrorCode::kCorrupt, "{}: piece {} has the id {}, expected 0 to {}", file_,
         shown_text(piece), id, kMaxTokenId);
  }
  const auto index = static_cast<size_t>(id);
  if (by_id_.size() <= index) by_id_.resize(index + 1, nullptr);
  if (by_id_[index] != nullptr) {
    fail(ErrorCode::kCorrupt, "{}: the id {} is given to both {} and {}", file_, id,
         shown_text(*by_id_[index]), shown_text(piece));
  }
  const auto [entry, is_new] = by_piece_.emplace(std::move(piece), static_cast<TokenId>(id));
  if (!is_new) {
    fail(ErrorCode::kCorrupt, "{}: piece {} has two ids, {} and {}", file_,
         shown_text(entry->first), entry->second, id);
  }
  by_id_[index] = &entry->first;
}

std::optional<TokenId> Vocabulary::id_of(std::string_view piece) const {
  const auto found = by_piece_.find(piece);
  if (found == by_piece_.end()) return std::nullopt;
  return found->second;
}

std::string_view Vocabulary::piece_of(TokenId id) const {
  if (id < 0 || id >= size()) return {};
  const std::string* piece = by_id_[static_cast<size_t>(id)];
  return piece == nullptr ? std::string_view() : *piece;
}

ByteFallback::ByteFallback(const Vocabulary& vocabulary) {
  std::vector<TokenId> ids(256, -1);
  bool any = false;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (const auto id = vocabulary.id_of(fmt::format("<0x{:02X}>", byte))) {
      ids[byte] = *id;
      any = true;
    }
  }
  if (any) ids_ = std::move(ids);
}

bool ByteFallback::append(std::string_view bytes, std::vector<TokenId>& ids) const {
  if (ids_.empty()) return false;
  for (const char byte : bytes) {
    if (ids_[static_cast<unsigned char>(byte)] < 0) return false;
  }
  for (const char byte : bytes) ids.push_back(ids_[static_cast<unsigned char>(byte)]);
  return true;
}

std::optional<unsigned char> byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char digit : piece.substr(3, 2)) {
    value *= 16;
    if (digit >= '0' && digit <= '9') {
      value += static_cast<unsigned>(digit - '0');
    } else if (digit >= 'A' && digit <= 'F') {
      value += static_cast<unsigned>(digit - 'A') + 10;
    } else if (digit >= 'a' && digit <= 'f') {
      value += static_cast<unsigned>(digit - 'a') + 10;
    } else {
      return std::nullopt;
    }
  }
  return static_cast<unsigned char>(value);
}

std::unique_ptr<Model> make_model(const Json& json) {
  constexpr std::string_view kWhere = "tokenizer.json: model";
  std::string type;
  if (!field_or_null(json, "type", kWhere).is_null()) {
    type = string_field(json, "type", kWhere);
  } else if (json.contains("merges")) {  // files from before "type" was written
    type = "BPE";
  } else if (field_or_null(json, "vocab", kWhere).is_array()) {
    type = "Unigram";
  }
  if (type == "BPE") return make_bpe_model(json);
  if (type == "Unigram") return make_unigram_model(json);
  fail(ErrorCode::kUnsupported,
       "tokenizer.json: the model type {} is not supported; BPE and Unigram are", shown_text(type));
}

}  // namespace bitsmith::text
