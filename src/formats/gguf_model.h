// GGUF files as models.
#pragma once

#include <filesystem>

#include "formats/gguf.h"
#include "formats/model.h"

namespace bitsmith {

// Opens a GGUF file, or all parts of a split one. The metadata becomes a config.json, from which
// the family makes the graph; tensors get Hugging Face's names and the codec of their ggml type.
// They lie in the mapped file, but for the rows of q and k of architecture "llama", which are
// copied into Hugging Face's order: a row of blocks is coded on its own, so this is exact.
// Throws as open_gguf_files, config_from_gguf, build_graph and tokenizer_from_gguf do; kNotFound or
// kCorrupt for tensors that are missing or of another shape, kUnsupported for ggml types without a
// codec.
Model open_gguf(const std::filesystem::path& path);

// The same for one file in memory, which the model then refers to; `file` names it in messages.
Model read_gguf_model(std::span<const std::byte> bytes, const std::string& file);

}  // namespace bitsmith
