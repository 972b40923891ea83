// Tokenizers stored as Hugging Face's `tokenizer.json`.
#pragma once

#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace bitsmith::text {

// json: the file; config: tokenizer_config.json, or empty when there is none. Truncation and
// padding in the file are ignored: callers cut texts themselves.
std::unique_ptr<Tokenizer> make_hf_tokenizer(const std::string& json, const std::string& config);

}  // namespace bitsmith::text
