// Writes a Hugging Face folder with random weights of a given shape, for measurements of speed and
// memory: make_model --shape tinyllama-1.1b --output DIR
#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "core/output_file.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "families/family.h"
#include "formats/safetensors.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

nlohmann::json shape_config(const std::string& name) {
  struct Row {
    int64_t vocab, hidden, ffn, layers, heads, kv_heads;
  };
  static const std::map<std::string, Row> kShapes = {
      {"tinyllama-1.1b", {32000, 2048, 5632, 22, 32, 4}},
      {"llama-7b", {32000, 4096, 11008, 32, 32, 32}},
      {"small-60m", {8192, 512, 1376, 12, 8, 4}},
  };
  const auto found = kShapes.find(name);
  if (found == kShapes.end()) {
    std::vector<std::string> names;
    for (const auto& [known, row] : kShapes) names.push_back(known);
    fail(ErrorCode::kNotFound, "there is no shape '{}'; there are: {}", name,
         fmt::join(names, ", "));
  }
  const Row& r = found->second;
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", r.vocab},
          {"hidden_size", r.hidden},
          {"intermediate_size", r.ffn},
          {"num_hidden_layers", r.layers},
          {"num_attention_heads", r.heads},
          {"num_key_value_heads", r.kv_heads},
          {"hidden_act", "silu"},
          {"max_position_embeddings", 2048},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"}};
}

// Norms are 1, all else is normal with standard deviation 0.02, in bf16. One row of numbers at a
// time is in memory; every chunk of a tensor has its own random stream.
void write_model(const nlohmann::json& config, const std::filesystem::path& folder, uint64_t seed) {
  const Graph graph = build_graph(config);
  std::filesystem::create_directories(folder);
  std::vector<SafetensorsWriter::Entry> entries;
  for (const ValueId id : graph.parameters()) {
    entries.push_back({graph.value(id).name, DType::kBF16, graph.value(id).shape});
  }
  SafetensorsWriter writer(folder / "model.safetensors", entries, {{"format", "pt"}});
  ThreadPool pool;
  constexpr int64_t kChunk = 1 << 16;
  constexpr int64_t kTogether = 64;
  for (const auto& entry : entries) {
    const int64_t count = *element_count(entry.shape);
    const bool norm = entry.shape.size() == 1;
    std::vector<uint16_t> values;
    for (int64_t base = 0; base < count; base += kChunk * kTogether) {
      const int64_t here = std::min(count - base, kChunk * kTogether);
      values.resize(static_cast<size_t>(here));
      pool.run(ceil_div(here, kChunk), [&](int64_t chunk, int) {
        Random random(seed, fmt::format("{}/{}", entry.name, base / kChunk + chunk));
        const int64_t end = std::min(here, (chunk + 1) * kChunk);
        for (int64_t i = chunk * kChunk; i < end; ++i) {
          const double x = norm ? 1.0 : 0.02 * random.normal();
          values[static_cast<size_t>(i)] = float_to_bf16(static_cast<float>(x));
        }
      });
      writer.append(entry.name, std::as_bytes(std::span(values)));
    }
  }
  writer.commit();
  OutputFile file(folder / "config.json");
  file.write(config.dump(2));
  file.commit();
}

}  // namespace
}  // namespace bitsmith

int main(int argc, char** argv) {
  CLI::App app("Writes a model folder with random weights, for benchmarks.");
  std::string shape = "tinyllama-1.1b";
  std::filesystem::path output;
  uint64_t seed = 1;
  app.add_option("--shape", shape, "tinyllama-1.1b, llama-7b or small-60m")->capture_default_str();
  app.add_option("--output", output, "the folder to make")->required();
  app.add_option("--seed", seed, "of the weights")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    bitsmith::write_model(bitsmith::shape_config(shape), output, seed);
  } catch (const std::exception& error) {
    fmt::print(stderr, "make_model: {}\n", error.what());
    return 1;
  }
  return 0;
}
