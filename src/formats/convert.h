// Language models from one kind of file to another, with every weight compared.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "formats/model.h"
#include "formats/tensor_error.h"

namespace bitsmith {

struct ConvertRequest {
  std::filesystem::path output;
  // "bitsmith", "gguf", a folder's "safetensors" or "quant_method" (folder_format.h); empty: by the
  // ending of `output`, a folder of "safetensors" if there is none.
  std::string format;
  // What the format has no place for becomes f16. Without it, f32, which loses nothing.
  bool lossy = false;
  std::function<void(const CodedTensor&)> after_write;
  std::function<void(const CodedTensor&)> after_compare;  // not read again; files only
};

struct ConvertReport {
  std::string format;
  std::vector<TensorChange> rows;
  uint64_t bytes = 0;  // of the tensors
  int64_t weights = 0;
};

// Codes stay the codes they are where both formats have them: they are never fitted anew. The
// output is read again and every tensor compared before it gets its name; without `lossy` it does
// not if a weight is another (kUnsupported). kUnsupported too for what the format cannot express.
ConvertReport convert_model(const Model& model, const ConvertRequest& request);

}  // namespace bitsmith
