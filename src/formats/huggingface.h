// Hugging Face model folders: config.json, safetensors shards, tokenizer files.
#pragma once

#include <filesystem>

#include "formats/model.h"

namespace bitsmith {

// Opens a folder with config.json and either model.safetensors or model.safetensors.index.json with
// the shards that it names. The graph comes from the family that config.json names; every parameter
// of it must be in the files with the graph's shape, as F32, F16 or BF16, and becomes a CodedTensor
// of the codec `f32`, `f16` or `bf16` that points into the mapped file.
//
// Quantized models (config.json has "quantization_config") are read by the folder format that it
// names (folder_format.h): their matrices are of the codec `int`, in memory of their own.
//
// Tied weights: a parameter that is absent is looked up under the other name that safetensors'
// metadata gives for it, or, between "model.embed_tokens.weight" and "lm_head.weight" of a tied
// model, under that one's name. Where config.json is silent, files without one of the two are a
// tied model: then `config` says "tie_word_embeddings": true.
//
// The end tokens of generation_config.json, if it is there, are added to the configuration's.
//
// Tensors that the graph does not ask for are listed as unused, but those of a layer beyond
// num_hidden_layers: then config.json and weights do not belong together.
//
// Throws kNotFound for missing files and tensors, kCorrupt for files that contradict each other,
// kUnsupported for families, number types and already quantized models that bitsmith cannot read.
Model open_huggingface(const std::filesystem::path& folder);

}  // namespace bitsmith
