// Text to token ids and back, for the tokenizers that language models ship with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace bitsmith {

using TokenId = int32_t;

// The files a tokenizer is made from, by file name: "tokenizer.json", "tokenizer.model",
// "tokenizer_config.json". Each is optional, with its bytes as read. A checkpoint carries the same
// map.
using TokenizerFiles = std::map<std::string, std::string>;

// How the bytes of a token sequence become text. Two conventions exist for bytes that are not
// valid UTF-8: byte-level tokenizers write one U+FFFD per maximal broken sequence (WHATWG, as in
// browsers), tokenizers with byte-fallback pieces write one U+FFFD per broken byte (SentencePiece).
struct TextRule {
  bool replacement_per_byte = false;
  // Whether tokens count as the first until one of them has added text (SentencePiece models that
  // remove extra spaces: every leading space goes), not just the first token.
  bool first_until_text = false;
  std::string separator;  // written between two tokens; empty for all but decoder-less files
};

// Immutable after construction; every method may be called from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of `text`. Bytes that are not UTF-8 count as U+FFFD; no text makes this throw.
  //   add_special: whether BOS and EOS are added as the file's post-processor or
  //   tokenizer_config.json (add_bos_token, add_eos_token) asks.
  // Special tokens written out in the text ("<|end|>") become their ids in either case.
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special) const = 0;

  // The text of `ids`, always valid UTF-8. Special tokens and ids outside the vocabulary (models
  // pad their embedding tables) add nothing.
  virtual std::string decode(std::span<const TokenId> ids) const;

  // One more than the largest id; ids below it may be unused.
  virtual int64_t vocab_size() const = 0;

  virtual std::optional<TokenId> bos() const = 0;

  // Every token that ends a generated text, the configured one first; empty when none is known.
  virtual std::vector<TokenId> eos() const = 0;

  // The raw vocabulary text of a token, for listings; empty for an unused id.
  virtual std::string piece(TokenId id) const = 0;

  // The bytes that a token adds to a text, which need not be whole UTF-8 sequences; empty for
  // special tokens and unused ids.
  //   first: whether no token before it added anything (the leading space of SentencePiece)
  // decode() and StreamDecoder are both built on this and on text_rule().
  virtual std::string token_bytes(TokenId id, bool first) const {
    static_cast<void>(first);
    return piece(id);
  }
  virtual TextRule text_rule() const { return {}; }
};

// Makes the tokenizer that the files describe: tokenizer.json if it is there, else tokenizer.model.
// Throws Error: kNotFound when neither is there, kCorrupt or kUnsupported when it cannot be used.
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerFiles& files);

// Reads those of the three files that are in `folder`, each of at most 256 MiB.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder);

// Turns tokens into text one by one, as a model writes them. The concatenation of every next() and
// finish() equals Tokenizer::decode of the same ids, and every returned part is valid UTF-8: bytes
// of a sequence still incomplete are held back. Keeps a reference to the tokenizer.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer);

  // The text that is certain now that `id` has come.
  std::string next(TokenId id);

  // What was held back; then the decoder is ready for a new text.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  TextRule rule_;
  text::Utf8Repairer repairer_;
  bool first_ = true;
};

}  // namespace bitsmith
