// The hyperparameters of a model: GGUF metadata to config.json's fields.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "formats/gguf.h"
#include "formats/gguf_writer.h"

namespace bitsmith {

// "general.architecture"; kCorrupt if it is not there.
std::string gguf_architecture(const Gguf& gguf);

// The config.json that src/families understands. Architectures: llama (Llama and Mistral), qwen2,
// qwen3, gemma, gemma2, gemma3; others are kUnsupported by name, as is every key of the
// architecture that is not known. Numbers in float32 become the shortest decimal that rounds to
// them: 1e-06, as Hugging Face wrote it. Factors of rotary frequencies (tensor "rope_freqs.weight")
// become rope type "factors".
nlohmann::json config_from_gguf(const Gguf& gguf);

// The way back: "general.architecture" and the architecture's keys. Families: llama, mistral,
// qwen2, qwen3, gemma, gemma2, gemma3_text; others are kUnsupported by name, as is what llama.cpp
// takes from no key. It does not use Mistral's sliding window.
GgufMetadata config_to_gguf(const nlohmann::json& config);

// The architecture that config_to_gguf writes.
std::string gguf_architecture(const nlohmann::json& config);

// The size of a head, given or hidden_size / num_attention_heads.
int64_t head_dim_of(const nlohmann::json& config);

// The divisors of rotary frequencies that GGUF keeps as the tensor "rope_freqs.weight"; empty where
// none are needed.
std::vector<float> rope_factors_of(const nlohmann::json& config);

}  // namespace bitsmith
