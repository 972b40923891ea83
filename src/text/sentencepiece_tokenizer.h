// Tokenizers stored as a SentencePiece model (`tokenizer.model`).
#pragma once

#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace bitsmith::text {

// model: a serialized ModelProto; config: tokenizer_config.json, or empty when there is none.
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::string& model,
                                                        const std::string& config);

}  // namespace bitsmith::text
