// Turns the piece of a token back into the bytes it stands for.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace bitsmith::text {

// The "decoder" object of tokenizer.json, in the shapes that are in use: ByteLevel; Metaspace; a
// Sequence of Replace, then ByteFallback, Fuse and Strip of one leading space, each optional. Such
// decoders work token by token, which streaming needs; others are refused.
// Differs from Hugging Face's library in one point: in a run of byte pieces that is not valid
// UTF-8 only the broken bytes become U+FFFD, as SentencePiece does, not the whole run.
class Decoder {
 public:
  Decoder() = default;
  // json: null means that pieces are written as they are, with a space between.
  explicit Decoder(const nlohmann::json& json);

  // first: whether the piece is the first of its text
  std::string bytes_of(std::string_view piece, bool first) const;
  TextRule text_rule() const { return {byte_fallback_, false, separator_}; }

 private:
  void add_step(const nlohmann::json& json, bool in_sequence, int depth);

  std::string separator_;
  bool byte_level_ = false;
  std::vector<std::pair<std::string, std::string>> replacements_;
  double growth_ = 1;  // of replacements_, see kMaxGrowth
  bool byte_fallback_ = false;
  bool fused_ = false;
  std::string metaspace_;                 // the visible space of a Metaspace step
  bool metaspace_drops_leading_ = false;  // the first piece's visible spaces add nothing
  std::string strip_;                     // taken once from the start of the text
};

}  // namespace bitsmith::text
