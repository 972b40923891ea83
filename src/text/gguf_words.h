// How GGUF files name the ways of cutting text into words ("tokenizer.ggml.pre").
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "text/split_regex.h"

namespace bitsmith::text {

// A name and what it stands for. Several names stand for the same cut; the first is the one that is
// written.
struct GgufWords {
  std::string_view name;
  SplitRegex split;
  bool single_digits = false;  // digits are cut apart first
  bool ignore_merges = false;  // a word that is in the vocabulary is one token
  bool add_bos = false;        // where the file does not say

  // The "pre_tokenizer" of a tokenizer.json with byte-level BPE.
  nlohmann::json pre_tokenizer() const;
};

// nullptr for a name that is not known: other words would give other tokens.
const GgufWords* find_gguf_words(std::string_view name);

// The name for the "pre_tokenizer" of a tokenizer.json; nullptr if there is none.
const GgufWords* find_gguf_words(const nlohmann::json& pre_tokenizer, bool ignore_merges);

}  // namespace bitsmith::text
