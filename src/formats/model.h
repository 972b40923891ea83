// A model as the rest of bitsmith sees it, whatever file it came from.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "codecs/codec.h"
#include "core/huge_memory.h"
#include "core/mapped_file.h"
#include "core/memory_file.h"
#include "graph/graph.h"
#include "text/tokenizer.h"

namespace bitsmith {

struct Model {
  std::filesystem::path path;
  std::string format;     // "huggingface", "gguf", "onnx", "bitsmith"
  nlohmann::json config;  // config.json as read, or made of GGUF metadata; of ONNX: opset, producer
  Graph graph;
  std::map<std::string, CodedTensor> parameters;  // one for every parameter of the graph
  TokenizerFiles tokenizer_files;                 // may be empty
  nlohmann::json metadata;                        // checkpoints: recipe, quality, ... else null
  // What the parameters' bytes lie in: files as they are, and what was computed from them.
  std::vector<std::shared_ptr<MappedFile>> files;
  std::vector<std::shared_ptr<const std::vector<std::byte>>> buffers;
  std::shared_ptr<MemoryFile> decoded;      // entropy-coded parameters, decoded
  std::shared_ptr<HugeMemory> resident;     // copies, see make_resident()
  std::vector<std::string> unused_tensors;  // in the files, but not asked for by the graph
  std::vector<std::string> notes;           // what the files ask for and is not done, a sentence

  const CodedTensor& parameter(std::string_view name) const;  // kNotFound if there is none
  uint64_t parameter_bytes() const;                           // on disk, all side information
  uint64_t packed_bytes() const;                              // the same before entropy coding
  int64_t parameter_count() const;                            // weights
};

// Moves what lies in `buffers` to memory that release_pages() does not lose, as files are: the
// steps of compressing drop the pages of a tensor after each use.
void settle_buffers(Model& model);

// Opens a Hugging Face folder (or its config.json), a GGUF file, an ONNX file or a bitsmith
// checkpoint by looking at it. Nothing is decoded. Throws kNotFound, kCorrupt or kUnsupported.
Model open_model(const std::filesystem::path& path);

}  // namespace bitsmith
