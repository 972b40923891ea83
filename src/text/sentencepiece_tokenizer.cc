// SentencePiece models through the SentencePiece library, with the special tokens that
// tokenizer_config.json adds around it.
#include "text/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "text/tokenizer_config.h"

namespace bitsmith::text {
namespace {

using sentencepiece::SentencePieceProcessor;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's visible space

std::unique_ptr<SentencePieceProcessor> load(const std::string& model) {
  auto processor = std::make_unique<SentencePieceProcessor>();
  const auto status = processor->LoadFromSerializedProto(model);
  if (!status.ok()) {
    fail(ErrorCode::kCorrupt, "tokenizer.model: not a SentencePiece model of {} bytes ({})",
         model.size(), status.message());
  }
  return processor;
}

// The byte of a piece such as "<0x0A>".
char byte_of_piece(const std::string& piece) {
  return static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16));
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& model, TokenizerConfig config);

  std::vector<TokenId> encode(std::string_view text, bool add_special) const override;
  int64_t vocab_size() const override { return size_; }
  std::optional<TokenId> bos() const override { return bos_; }
  std::vector<TokenId> eos() const override { return eos_; }
  std::string piece(TokenId id) const override;
  std::string token_bytes(TokenId id, bool first) const override;
  TextRule text_rule() const override { return {.replacement_per_byte = true, .separator = ""}; }

 private:
  bool is_model_piece(TokenId id) const { return id >= 0 && id < model_->GetPieceSize(); }
  std::optional<TokenId> id_of(const std::string& content) const;
  void gather_added_tokens(const TokenizerConfig& config);

  std::unique_ptr<SentencePieceProcessor> model_;
  // The same model without the space before the text; only where an added token may come before a
  // text and the file says so (legacy: false).
  std::unique_ptr<SentencePieceProcessor> model_without_prefix_;
  bool space_before_text_ = false;
  bool add_bos_ = false, add_eos_ = false;
  std::optional<TokenId> bos_;
  std::vector<TokenId> eos_;
  int64_t size_ = 0;
  std::unordered_map<TokenId, AddedToken> added_;
  AddedTokenMatcher matcher_;
};

SentencePieceTokenizer::SentencePieceTokenizer(const std::string& model, TokenizerConfig config)
    : model_(load(model)), size_(model_->GetPieceSize()) {
  gather_added_tokens(config);
  // The normaliser's settings are not in the library's interface: look at what it does.
  const std::vector<std::string> pieces = model_->EncodeAsPieces("a");
  space_before_text_ = !pieces.empty() && pieces[0].starts_with(kSpace);
  if (space_before_text_ && !config.legacy) {
    // A repeated message field merges into the earlier one: this sets normalizer_spec (field 3,
    // two bytes) .add_dummy_prefix (field 3, varint) to false.
    model_without_prefix_ = load(model + std::string("\x1A\x02\x18\x00", 4));
  }

  bos_ = id_of(config.bos_token);
  if (!bos_ && model_->bos_id() >= 0) bos_ = model_->bos_id();
  const auto add_eos = [&](std::optional<TokenId> id) {
    if (id && std::find(eos_.begin(), eos_.end(), *id) == eos_.end()) eos_.push_back(*id);
  };
  add_eos(id_of(config.eos_token));
  if (eos_.empty() && model_->eos_id() >= 0) add_eos(model_->eos_id());
  for (const std::string& content : end_of_turn_tokens()) add_eos(id_of(content));
  // Llama's defaults, which nearly all such models rely on.
  add_bos_ = config.add_bos_token.value_or(true) && bos_;
  add_eos_ = config.add_eos_token.value_or(false) && !eos_.empty();
}

void SentencePieceTokenizer::gather_added_tokens(const TokenizerConfig& config) {
  std::vector<AddedToken> tokens = config.added_tokens;
  for (const std::string* content :
       {&config.bos_token, &config.eos_token, &config.unk_token, &config.pad_token}) {
    const bool listed = std::any_of(tokens.begin(), tokens.end(), [&](const AddedToken& token) {
      return token.content == *content;
    });
    const TokenId id = model_->PieceToId(*content);
    if (content->empty() || listed || model_->IdToPiece(id) != *content) continue;
    AddedToken token;
    token.id = id;
    token.content = *content;
    token.special = true;
    tokens.push_back(token);
  }
  for (const AddedToken& token : tokens) {
    if (is_model_piece(token.id) && model_->IdToPiece(token.id) != token.content) {
      fail(ErrorCode::kUnsupported,
           "tokenizer_config.json: token {} is '{}' but tokenizer.model has '{}' there; a "
           "tokenizer that shifts ids needs its tokenizer.json",
           token.id, token.content, model_->IdToPiece(token.id));
    }
    size_ = std::max(size_, int64_t{token.id} + 1);
    added_[token.id] = token;
  }
  matcher_ = AddedTokenMatcher(std::move(tokens));
}

std::optional<TokenId> SentencePieceTokenizer::id_of(const std::string& content) const {
  if (content.empty()) return std::nullopt;
  for (const auto& [id, token] : added_) {
    if (token.content == content) return id;
  }
  const TokenId id = model_->PieceToId(content);
  if (is_model_piece(id) && model_->IdToPiece(id) == content) return id;
  return std::nullopt;
}

std::vector<TokenId> SentencePieceTokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<TokenId> ids;
  if (add_special && add_bos_) ids.push_back(*bos_);
  const std::string valid = repair_utf8(text);
  bool after_token = false;
  std::vector<int> part;
  for (const Segment& segment : matcher_.split(valid)) {
    if (segment.token) {
      ids.push_back(*segment.token);
      after_token = true;
      continue;
    }
    const bool bare = after_token && model_without_prefix_;
    const auto status =
        (bare ? model_without_prefix_ : model_)
            ->Encode(absl::string_view(segment.text.data(), segment.text.size()), &part);
    if (!status.ok()) {
      fail(ErrorCode::kCorrupt, "tokenizer.model: encoding {} bytes failed: {}",
           segment.text.size(), status.message());
    }
    ids.insert(ids.end(), part.begin(), part.end());
  }
  if (add_special && add_eos_) ids.push_back(eos_.front());
  return ids;
}

std::string SentencePieceTokenizer::piece(TokenId id) const {
  if (const auto found = added_.find(id); found != added_.end()) return found->second.content;
  return is_model_piece(id) ? model_->IdToPiece(id) : "";
}

std::string SentencePieceTokenizer::token_bytes(TokenId id, bool first) const {
  if (const auto found = added_.find(id); found != added_.end()) {
    return found->second.special ? "" : found->second.content;
  }
  if (!is_model_piece(id) || model_->IsControl(id) || model_->IsUnknown(id)) return "";
  std::string bytes = model_->IdToPiece(id);
  if (model_->IsByte(id)) return std::string(1, byte_of_piece(bytes));
  if (first && space_before_text_ && bytes.starts_with(kSpace)) bytes.erase(0, kSpace.size());
  for (size_t at = 0; (at = bytes.find(kSpace, at)) != std::string::npos; ++at) {
    bytes.replace(at, kSpace.size(), " ");
  }
  return bytes;
}

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::string& model,
                                                        const std::string& config) {
  return std::make_unique<SentencePieceTokenizer>(model, parse_tokenizer_config(config));
}

}  // namespace bitsmith::text
