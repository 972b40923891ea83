// ONNX files as models: opset 6 to 22 of ONNX's own operators, constants inside or in files beside
// it.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "formats/model.h"

namespace bitsmith {

// Reads a network. Constants are computed, operators of the file become those of the graph
// (formats/README.md says which); batch norms and activations stay as they are. The first extent of
// an input may be open, it becomes kBatch; others must be fixed. kUnsupported naming the node for
// what the graph cannot express.
Model open_onnx(const std::filesystem::path& path);

// The same from memory. `folder`: where external data may lie; empty: it is refused.
// `values`: serialized TensorProto messages by name, which make inputs of the network constants;
// they must live as long as the model.
Model read_onnx(std::span<const std::byte> bytes, const std::string& name,
                const std::filesystem::path& folder,
                const std::map<std::string, std::string, std::less<>>& values = {});

}  // namespace bitsmith
