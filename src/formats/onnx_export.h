// Networks as ONNX files that other engines run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/model.h"

namespace bitsmith {

// A tensor that does not lie in the file as it lies in the model.
struct OnnxNote {
  std::string tensor;
  std::string text;  // "nf4 g32 became float32: ..."
};

struct OnnxReport {
  int64_t opset = 0;
  uint64_t bytes = 0;  // of the file
  std::vector<OnnxNote> notes;
};

// Writes the network with the lowest opset that has what it needs, 13 or later. The first extent of
// inputs and outputs stays open. Read back, the file computes what the network computes; how images
// become inputs goes with it, as metadata.
//
// Quantized activations are QuantizeLinear and DequantizeLinear. Codes of the codec `int` in
// weights of conv and linear stay codes, with a DequantizeLinear (QDQ); where the layer's input is
// quantized too, its bias becomes int32 in units of input scale * weight scale, as integer
// executors read it. All other weights, and all of them if `weights_as_float`, become float32.
//
// The file appears whole or not at all; it is read again, and every weight compared. The same model
// gives the same bytes. kUnsupported, naming the node, for what ONNX cannot express, and for files
// beyond 2 GB.
OnnxReport export_onnx(const std::filesystem::path& path, const Model& model,
                       bool weights_as_float = false);

}  // namespace bitsmith
