// SentencePiece models, with the special tokens that tokenizer_config.json adds around them.
#include "text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "text/normalizer.h"
#include "text/sentencepiece_file.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_config.h"

namespace bitsmith::text {
namespace {

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const SentencePieceFile& file, const TokenizerConfig& config);

  std::vector<TokenId> encode(std::string_view text, bool add_special) const override;
  int64_t vocab_size() const override { return size_; }
  std::optional<TokenId> bos() const override { return bos_; }
  std::vector<TokenId> eos() const override { return eos_; }
  std::string piece(TokenId id) const override;
  std::string token_bytes(TokenId id, bool first) const override;
  TextRule text_rule() const override {
    return {
        .replacement_per_byte = true, .first_until_text = drops_leading_spaces_, .separator = ""};
  }

 private:
  void gather_added_tokens(const TokenizerConfig& config);
  void choose_bos_and_eos(const SentencePieceFile& file, const TokenizerConfig& config);
  std::optional<TokenId> id_of(const std::string& content) const;

  SentencePieceNormalizer normalizer_;
  std::unique_ptr<Model> model_;
  std::vector<PieceType> types_;    // by id
  bool drops_first_space_ = false;  // decoding takes back what encoding put before the text
  bool drops_leading_spaces_ = false;
  bool space_after_tokens_ = true;  // encoding puts a space also after an added token
  bool add_bos_ = false, add_eos_ = false;
  std::optional<TokenId> bos_;
  std::vector<TokenId> eos_;
  int64_t size_;
  std::unordered_map<TokenId, AddedToken> added_;
  AddedTokenMatcher matcher_;
};

SentencePieceTokenizer::SentencePieceTokenizer(const SentencePieceFile& file,
                                               const TokenizerConfig& config)
    : normalizer_(file),
      model_(make_sentencepiece_model(file)),
      drops_first_space_(file.add_dummy_prefix || file.remove_extra_whitespaces),
      drops_leading_spaces_(file.remove_extra_whitespaces),
      space_after_tokens_(config.legacy),
      size_(static_cast<int64_t>(file.pieces.size())) {
  if (file.space_after_words) {
    fail(ErrorCode::kUnsupported,
         "tokenizer.model: treat_whitespace_as_suffix (the space after a word) is not supported");
  }
  for (const SentencePieceFile::Piece& piece : file.pieces) types_.push_back(piece.type);
  gather_added_tokens(config);
  choose_bos_and_eos(file, config);
}

void SentencePieceTokenizer::gather_added_tokens(const TokenizerConfig& config) {
  std::vector<AddedToken> tokens = config.added_tokens;
  for (const std::string* content :
       {&config.bos_token, &config.eos_token, &config.unk_token, &config.pad_token}) {
    const bool listed = std::any_of(tokens.begin(), tokens.end(), [&](const AddedToken& token) {
      return token.content == *content;
    });
    const std::optional<TokenId> id = model_->vocabulary().id_of(*content);
    if (listed || !id) continue;
    AddedToken token;
    token.id = *id;
    token.content = *content;
    token.special = true;
    tokens.push_back(token);
  }
  for (const AddedToken& token : tokens) {
    const std::string_view piece = model_->vocabulary().piece_of(token.id);
    if (!piece.empty() && piece != token.content) {
      fail(ErrorCode::kUnsupported,
           "tokenizer_config.json: token {} is '{}' but tokenizer.model has '{}' there; a "
           "tokenizer that shifts ids needs its tokenizer.json",
           token.id, token.content, piece);
    }
    size_ = std::max(size_, int64_t{token.id} + 1);
    added_[token.id] = token;
  }
  matcher_ = AddedTokenMatcher(std::move(tokens));
}

void SentencePieceTokenizer::choose_bos_and_eos(const SentencePieceFile& file,
                                                const TokenizerConfig& config) {
  const auto control = [&](const std::string& content) -> std::optional<TokenId> {
    const std::optional<TokenId> id = model_->vocabulary().id_of(content);
    if (!id || types_[static_cast<size_t>(*id)] != PieceType::kControl) return std::nullopt;
    return id;
  };
  bos_ = id_of(config.bos_token);
  if (!bos_) bos_ = control(file.bos_piece);

  std::optional<TokenId> eos = id_of(config.eos_token);
  if (!eos) eos = control(file.eos_piece);
  if (eos) eos_.push_back(*eos);
  for (const std::string& content : end_of_turn_tokens()) {
    const auto id = id_of(content);
    if (id && std::find(eos_.begin(), eos_.end(), *id) == eos_.end()) eos_.push_back(*id);
  }
  // Llama's defaults, which nearly all such models rely on.
  add_bos_ = config.add_bos_token.value_or(true) && bos_;
  add_eos_ = config.add_eos_token.value_or(false) && !eos_.empty();
}

std::optional<TokenId> SentencePieceTokenizer::id_of(const std::string& content) const {
  if (content.empty()) return std::nullopt;
  for (const auto& [id, token] : added_) {
    if (token.content == content) return id;
  }
  return model_->vocabulary().id_of(content);
}

std::vector<TokenId> SentencePieceTokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<TokenId> ids;
  if (add_special && add_bos_) ids.push_back(*bos_);
  const std::string valid = repair_utf8(text);
  bool after_token = false;
  for (const Segment& segment : matcher_.split(valid)) {
    if (segment.token) {
      ids.push_back(*segment.token);
      after_token = true;
    } else {
      model_->encode(normalizer_.apply(segment.text, !after_token || space_after_tokens_), ids);
    }
  }
  if (add_special && add_eos_) ids.push_back(eos_.front());
  return ids;
}

std::string SentencePieceTokenizer::piece(TokenId id) const {
  const auto found = added_.find(id);
  return found != added_.end() ? found->second.content
                               : std::string(model_->vocabulary().piece_of(id));
}

std::string SentencePieceTokenizer::token_bytes(TokenId id, bool first) const {
  if (const auto found = added_.find(id); found != added_.end()) {
    return found->second.special ? "" : found->second.content;
  }
  std::string bytes(model_->vocabulary().piece_of(id));
  if (bytes.empty()) return bytes;
  switch (types_[static_cast<size_t>(id)]) {
    case PieceType::kUnknown:
    case PieceType::kControl:
      return "";
    case PieceType::kByte:
      if (const auto byte = byte_of_piece(bytes)) bytes.assign(1, static_cast<char>(*byte));
      return bytes;
    case PieceType::kNormal:
    case PieceType::kUserDefined:
    case PieceType::kUnused:
      break;
  }
  if (first && drops_first_space_ && bytes.starts_with(kVisibleSpace)) {
    bytes.erase(0, kVisibleSpace.size());
  }
  replace_all(bytes, kVisibleSpace, " ");
  return bytes;
}

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::string& model,
                                                        const std::string& config) {
  return std::make_unique<SentencePieceTokenizer>(read_sentencepiece_file(model),
                                                  parse_tokenizer_config(config));
}

}  // namespace bitsmith::text
