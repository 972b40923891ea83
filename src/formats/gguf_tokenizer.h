// Tokenizers in GGUF metadata, to and from the files that bitsmith makes tokenizers of.
#pragma once

#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "text/tokenizer.h"

namespace bitsmith {

// The tokenizer of "tokenizer.ggml.*" as files; empty if there is none.
//     model "llama" (SentencePiece's BPE)  -> tokenizer.model, tokenizer_config.json
//     model "gpt2" (byte-level BPE)        -> tokenizer.json, tokenizer_config.json; how text is
//                                             cut into words comes from tokenizer.ggml.pre
// Other models and cuts are kUnsupported by name.
TokenizerFiles tokenizer_from_gguf(const Gguf& gguf);

// The way back, from tokenizer.model if it is there, else tokenizer.json; nothing from no files.
//     SentencePiece BPE; BPE with byte fallback   -> "llama"
//     byte-level BPE                              -> "gpt2"
// Other kinds are kUnsupported by name: Unigram, cuts into words that GGUF has no name for.
// GGUF has no key for "legacy": false; there, a space comes before text after a special token.
// The vocabulary is filled with unused tokens to `vocab_size`, the rows of the embedding.
GgufMetadata tokenizer_to_gguf(const TokenizerFiles& files, int64_t vocab_size);

}  // namespace bitsmith
