// Models as Hugging Face folders, with quantized matrices in the formats of other engines.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "formats/model.h"
#include "formats/tensor_error.h"

namespace bitsmith {

// The format of folders without codes.
inline constexpr const char* kPlainFolder = "safetensors";

struct FolderExport {
  std::string format = kPlainFolder;  // or a "quant_method" (folder_format.h)
  std::string dense;  // what else is coded becomes "f32", "f16" or "bf16"; empty: f32
  // kUnsupported if codes that stay codes get other values, which no format but NVFP4 of
  // compressed-tensors does: it has the inverse of our scale of the tensor.
  bool exact = false;
  std::function<void(const CodedTensor&)> after_write;
};

struct FolderReport {
  struct Note {
    std::string tensor;
    std::string text;  // what it became and why
    double error = 0;  // sqrt(sum of squared changes / sum of squares)
  };
  std::vector<Note> notes;            // of matrices that are not the codes they were
  std::vector<TensorChange> tensors;  // all, in order of use
  uint64_t bytes = 0;                 // of the tensors
  int64_t weights = 0;
  int64_t coded = 0;  // matrices that stayed codes
  // q, k and v of how many blocks (gate and up alike) are not coded alike: vLLM joins them and
  // cannot load these.
  int64_t unequal_layers = 0;
};

// Throws kInvalidArgument unless nothing is there, or an empty folder.
void check_new_folder(const std::filesystem::path& target);

// Writes config.json, model.safetensors and the tokenizer's files into `folder`, which appears
// whole or not at all: it must not be there, or be empty. Matrices that are multiplied keep their
// codes where the format has them; the embedding and the head become numbers, which is what engines
// expect. Numbers stay what they are. The folder is opened again and compared: every matrix has the
// same values, or those of `dense`. kUnsupported for models whose graph is not that of their
// config.json (transformed ones), but for activations rounded per token to 8 bits, which
// compressed-tensors has ("int-quantized"; what the head reads is not rounded there).
FolderReport export_folder(const std::filesystem::path& folder, const Model& model,
                           const FolderExport& options);

}  // namespace bitsmith
