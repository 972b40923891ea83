// Cuts text into words, which the model then encodes one by one.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace bitsmith::text {

struct Word {
  std::string text;       // valid UTF-8, not empty
  bool at_start = false;  // begins where the whole text begins
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Appends the words that `word` is cut into.
  virtual void cut(Word word, std::vector<Word>& words) const = 0;
};

// json: the "pre_tokenizer" object of tokenizer.json; null gives null. Supported: Sequence,
// ByteLevel, Metaspace, Split by a string or a known expression, Digits, Punctuation,
// WhitespaceSplit. Others are refused by name.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const nlohmann::json& json);

}  // namespace bitsmith::text
