// bitsmith's own file: graph, coded tensors, tokenizer and everything known of them, in one
// safetensors container. docs/FORMAT.md is the byte-exact specification.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "codecs/codec.h"
#include "core/progress.h"
#include "encoding/entropy_coder.h"
#include "formats/model.h"
#include "graph/graph.h"
#include "text/tokenizer.h"

namespace bitsmith {

// The newest version of the format that this library reads. It writes the oldest that has what a
// file needs.
inline constexpr int kCheckpointVersion = 3;

// What a checkpoint is made from.
struct CheckpointContents {
  Graph graph;
  nlohmann::json config;                          // config.json, or null
  std::map<std::string, CodedTensor> parameters;  // one for every parameter that the graph uses
  TokenizerFiles tokenizer_files;                 // may be empty
  // An object: "recipe", "quality", "calibration", ... of any content, kept as "bitsmith.<name>".
  // The names of the format's own metadata (graph, tensors, ...) are refused.
  nlohmann::json metadata = nlohmann::json::object();
  // Stores the parameters' bytes coded by it, each where that is smaller, and the metadata packed;
  // nullptr: as they are.
  const EntropyCoder* entropy_coder = nullptr;
  int threads = 0;  // to code with; 0: all processors
  // Called each time the bytes of a parameter have been read, twice for each (checksum, copy):
  // here the caller releases pages of mapped files and reports progress.
  std::function<void(const CodedTensor&)> after_read;
};

// Writes the file; it appears whole or not at all. Every tensor's bytes are read (and coded) twice
// and none is kept. The same contents give the same bytes for any number of threads. Throws
// kInvalidArgument if a parameter is missing, superfluous, or does not fit the graph's shape or its
// codec's size.
void write_checkpoint(const std::filesystem::path& path, const CheckpointContents& contents);

// Maps the file and checks everything but the bytes of the parameters: the container, the checksum
// of the metadata, the graph, shape and size of every parameter, the tokenizer files' checksums.
// Nothing is decoded but what is entropy-coded: that becomes its codec's bytes in memory, compared
// with their checksum. kUnsupported, by name, for a newer version, codec or operator; else
// kCorrupt.
Model open_checkpoint(const std::filesystem::path& path);

// The same for a checkpoint in memory, which the model then refers to; `file` names it in messages.
Model read_checkpoint(std::span<const std::byte> bytes, const std::string& file);

// Compares the bytes of all parameters in the file with their checksums, kCorrupt naming the first
// that differs. `model` must come from open_checkpoint. Reads the whole file.
void verify_checkpoint(const Model& model, Progress& progress);

}  // namespace bitsmith
