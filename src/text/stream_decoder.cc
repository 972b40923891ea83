// Streaming decoding: a token's bytes, the rule for the first token, and UTF-8 repair.
#include "text/tokenizer.h"

namespace bitsmith {

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  StreamDecoder decoder(*this);
  std::string text;
  for (const TokenId id : ids) text += decoder.next(id);
  text += decoder.finish();
  return text;
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), rule_(tokenizer.text_rule()), repairer_(rule_.replacement_per_byte) {}

std::string StreamDecoder::next(TokenId id) {
  std::string bytes = tokenizer_.token_bytes(id, first_);
  if (first_) {
    // A lone space piece at the start adds nothing, yet it is usually the first token: what follows
    // keeps its own space.
    first_ = bytes.empty() && (rule_.first_until_text || tokenizer_.token_bytes(id, false).empty());
  } else if (!bytes.empty()) {
    bytes.insert(0, rule_.separator);
  }
  return repairer_.feed(bytes);
}

std::string StreamDecoder::finish() {
  first_ = true;
  return repairer_.finish();
}

}  // namespace bitsmith
