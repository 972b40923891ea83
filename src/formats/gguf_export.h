// Models as GGUF files that llama.cpp loads.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "formats/model.h"

namespace bitsmith {

struct GgufExport {
  // The codec of matrices: "f16", "q8_0", "q4_k", ...; empty: each keeps its own where GGUF has it,
  // symmetric integers in groups of 32 become the same numbers as Q4_0 or Q8_0, others f16. A
  // matrix whose rows are not whole blocks gets another one, as in llama.cpp: q4_k -> q5_0, q6_k ->
  // q8_0, ..., f16.
  std::string codec;
  // Without a codec: matrices that GGUF has no type for become f32 instead of f16.
  bool exact = false;
  std::string name;  // what the file calls the model; empty: the stem of the model's path
  // Encodes the values of a matrix anew.
  std::function<std::vector<std::byte>(const CodedTensor& tensor, const Scheme& scheme)> encode;
  // Called when the bytes of a parameter have been written.
  std::function<void(const CodedTensor&)> after_write;
};

struct GgufReport {
  struct Fallback {
    std::string tensor;  // its name in the model
    std::string codec;   // that it got
    std::string reason;
  };
  std::vector<Fallback> fallbacks;
  uint64_t bytes = 0;  // of the tensors
  int64_t weights = 0;
};

// Writes the model: metadata, tokenizer, and tensors in the order of their use. Vectors are F32.
// The file appears whole or not at all; the same model gives the same bytes. kUnsupported if the
// model's graph is not what its config.json says (a transformed model), for families without a GGUF
// architecture, and for tokenizers that GGUF cannot express.
GgufReport export_gguf(const std::filesystem::path& path, const Model& model,
                       const GgufExport& options);

// How a tensor that keeps its numbers lies in a file: as it is where GGUF has a type for it, else in
// f16; vectors in f32. (export_gguf() also knows integers that are blocks in another order.)
Scheme gguf_scheme(const CodedTensor& tensor);

// The codec of a matrix with rows of `cols` columns for which `codec` was asked.
std::string_view gguf_codec(std::string_view codec, int64_t cols);

// What a tensor takes in a file, padding included; of NVFP4 also its scale, at most.
uint64_t gguf_stored_bytes(const MatrixShape& shape, const Scheme& scheme);

// What a file of the model holds beside those. Throws kUnsupported as export_gguf does.
uint64_t gguf_overhead_bytes(const Model& model);

}  // namespace bitsmith
