// SentencePiece's normalizer and algorithms.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/charsmap.h"
#include "text/model.h"
#include "text/prefix_index.h"
#include "text/sentencepiece_file.h"

namespace bitsmith::text {

inline constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";  // U+2581

// Applies the character map, adds and removes spaces and makes them visible.
class SentencePieceNormalizer {
 public:
  explicit SentencePieceNormalizer(const SentencePieceFile& file);

  //   dummy_prefix: whether a space may be put before the text, if the file asks for it
  std::string apply(std::string_view text, bool dummy_prefix) const;

 private:
  struct Step {
    size_t bytes;  // of the text
    std::string_view replacement;
  };
  Step next(std::string_view text) const;

  Charsmap charsmap_;
  PrefixIndex user_defined_;  // pieces that are copied as they are
  bool add_dummy_prefix_, remove_extra_whitespaces_;
  std::string_view space_;
};

// Models of the types word and char are refused by name.
std::unique_ptr<Model> make_sentencepiece_model(const SentencePieceFile& file);

}  // namespace bitsmith::text
