// Hugging Face folders of random weights, for tests.
#pragma once

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/testing.h"
#include "families/family.h"
#include "formats/safetensors.h"
#include "tensor/dtype.h"
#include "text/sentencepiece_file.h"

namespace bitsmith::testing {

// Changes weights before they are rounded to bf16 and written.
using Edit = std::function<void(const std::string& name, std::vector<float>& weights)>;

// Writes config.json and model.safetensors (bf16). Norms are near 1, as the family stores it.
inline void write_random_folder(const std::filesystem::path& folder, const nlohmann::json& config,
                                const Edit& edit = {}) {
  std::filesystem::create_directories(folder);
  const Graph graph = build_graph(config);
  const auto norm_offset = static_cast<double>(family_of(config).norm_offset());
  std::vector<SafetensorsWriter::Entry> entries;
  for (const ValueId id : graph.parameters()) {
    entries.push_back({graph.value(id).name, DType::kBF16, graph.value(id).shape});
  }
  SafetensorsWriter writer(folder / "model.safetensors", entries, {{"format", "pt"}});
  for (const auto& entry : entries) {
    Random random(7, entry.name);
    std::vector<float> weights(static_cast<size_t>(*element_count(entry.shape)));
    const bool vector = entry.shape.size() == 1;
    const bool norm = graph.value(graph.find(entry.name)).role == "norm";
    const double mean = (vector ? 1.0 : 0.0) - (norm ? norm_offset : 0.0);
    const double spread = vector ? 0.2 : 1.5 / std::sqrt(static_cast<double>(entry.shape.back()));
    for (float& w : weights) w = static_cast<float>(mean + spread * random.normal());
    if (edit) edit(entry.name, weights);
    std::vector<uint16_t> bits;
    for (const float w : weights) bits.push_back(float_to_bf16(w));
    writer.append(entry.name, std::as_bytes(std::span(bits)));
  }
  writer.commit();
  write_bytes(folder / "config.json", config.dump());
}

// The pieces of models/classics-7m with Gemma's rules for spaces: none is put before the text, and
// runs of them are user-defined pieces, as are line ends. Writes tokenizer.model and
// tokenizer_config.json; returns the number of tokens.
inline int64_t write_gemma_tokenizer(const std::filesystem::path& folder) {
  text::SentencePieceFile file = text::read_sentencepiece_file(
      read_bytes(source_folder() / "models/classics-7m/tokenizer.model"));
  file.add_dummy_prefix = false;
  file.remove_extra_whitespaces = false;
  for (const char* piece :
       {"\n", "\n\n", "\u2581\u2581", "\u2581\u2581\u2581", "<start_of_turn>"}) {
    file.pieces.push_back({piece, 0, text::PieceType::kUserDefined});
  }
  std::filesystem::create_directories(folder);
  write_bytes(folder / "tokenizer.model", text::write_sentencepiece_file(file));
  write_bytes(folder / "tokenizer_config.json",
              R"({"tokenizer_class": "GemmaTokenizer", "add_bos_token": true, "bos_token": "<s>",
                  "eos_token": "</s>", "unk_token": "<unk>"})");
  return static_cast<int64_t>(file.pieces.size());
}

}  // namespace bitsmith::testing
