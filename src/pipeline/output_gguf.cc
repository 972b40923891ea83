// Output format `gguf`: files that llama.cpp loads, in ggml's types.
#include <algorithm>
#include <map>

#include "formats/gguf_export.h"
#include "formats/gguf_model.h"
#include "formats/gguf_presets.h"
#include "formats/gguf_types.h"
#include "pipeline/output_format.h"

namespace bitsmith {
namespace {

using nlohmann::json;

bool has_type(const Scheme& scheme) { return find_ggml_type(scheme.codec->info().id) != nullptr; }

// Whether the matrix makes the network's output.
bool is_head(const Model& model, const MatrixTask& task) {
  return std::ranges::any_of(task.uses, [&](const MatrixUse& use) {
    const std::vector<ValueId>& outputs = model.graph.outputs;
    return !use.table &&
           std::ranges::find(outputs, model.graph.nodes[use.node].outputs[0]) != outputs.end();
  });
}

std::vector<Scheme> preset_schemes(const GgufPreset& preset, const Model& model,
                                   const std::vector<MatrixTask>& tasks) {
  const auto role = [&](const MatrixTask& task) { return model.graph.value(task.id).role; };
  std::map<std::string, int64_t> count;
  for (const MatrixTask& task : tasks) ++count[role(task)];
  std::map<std::string, int64_t> seen;
  std::vector<Scheme> schemes;
  for (const MatrixTask& task : tasks) {
    const int64_t i = seen[role(task)]++;
    schemes.emplace_back(preset.codec_of(role(task), i, count[role(task)], is_head(model, task)),
                         json::object());
  }
  return schemes;
}

class GgufOutput final : public OutputFormat {
 public:
  const PartInfo& info() const override { return info_; }
  const char* usual_recipe() const override { return "gguf-mix"; }

  void check(const Model& model, const Recipe& recipe) const override {
    for (const Scheme& scheme : recipe.candidates) {
      if (has_type(scheme)) continue;
      fail(ErrorCode::kInvalidArgument,
           "recipe '{}' codes with '{}', which GGUF has no type for; use --recipe gguf-mix, or "
           "--type",
           recipe.id, scheme.codec->info().id);
    }
    if (recipe.entropy_coder.part != nullptr) {
      fail(ErrorCode::kInvalidArgument,
           "GGUF files cannot be entropy-coded ('{}'): leave out --entropy",
           recipe.entropy_coder.part->info().id);
    }
    if (recipe.token_bits > 0) {
      fail(ErrorCode::kInvalidArgument,
           "recipe '{}' rounds activations per token: GGUF files have no place for that; write "
           "bitsmith's own format, or use another recipe",
           recipe.id);
    }
    if (recipe.residual.part != nullptr) {
      fail(ErrorCode::kInvalidArgument,
           "recipe '{}' has a [residual]: GGUF files have no layers beside layers; write "
           "bitsmith's own format, or use another recipe",
           recipe.id);
    }
    gguf_overhead_bytes(model);
  }

  std::vector<Scheme> named_schemes(const std::string& type, const Model& model,
                                    const std::vector<MatrixTask>& tasks) const override {
    if (const GgufPreset* preset = find_gguf_preset(type)) {
      return preset_schemes(*preset, model, tasks);
    }
    const GgmlType* one = find_ggml_type_named(type);
    if (one == nullptr || one->codec.empty()) {
      std::vector<std::string_view> names;
      for (const GgufPreset& preset : gguf_presets()) names.push_back(preset.name);
      fail(ErrorCode::kInvalidArgument,
           "--type '{}' is not known; there are the mixtures {}, and single types such as Q4_K, "
           "Q6_K, IQ4_XS or Q8_0 (`bitsmith export --help` has all)",
           type, fmt::join(names, ", "));
    }
    return std::vector<Scheme>(tasks.size(), Scheme(one->codec, json::object()));
  }

  Scheme kept(const CodedTensor& tensor) const override { return gguf_scheme(tensor); }

  std::optional<Scheme> fitting(const Scheme& wanted, const MatrixShape& shape) const override {
    const std::string id = wanted.codec->info().id;
    const std::string_view codec = gguf_codec(id, shape.cols);
    return codec == id ? wanted : Scheme(codec, json::object());
  }

  uint64_t stored_bytes(const MatrixShape& shape, const Scheme& scheme) const override {
    return gguf_stored_bytes(shape, scheme);
  }

  uint64_t overhead_bytes(const Model& model, const Recipe&) const override {
    return gguf_overhead_bytes(model);
  }

  void write(const std::filesystem::path& path, const CheckpointContents& contents,
             const std::string& name) const override {
    Model model;
    model.path = path;
    model.config = contents.config;
    model.graph = contents.graph;
    model.parameters = contents.parameters;
    model.tokenizer_files = contents.tokenizer_files;
    GgufExport options;
    options.name = name;
    options.after_write = contents.after_read;
    export_gguf(path, model, options);
  }

  Model open(const std::filesystem::path& path) const override { return open_gguf(path); }

  // Matrices byte by byte; vectors, which became float32, by value.
  void verify(const Model& written, const CheckpointContents& contents,
              Progress& progress) const override {
    progress.begin("verify", static_cast<double>(contents.parameters.size()));
    double done = 0;
    for (const auto& [name, tensor] : contents.parameters) {
      progress.update(done++, name);
      const CodedTensor& other = written.parameter(name);
      const bool same = other.scheme.to_json() == tensor.scheme.to_json()
                            ? std::ranges::equal(other.bytes, tensor.bytes)
                            : other.decode_all() == tensor.decode_all();
      if (!same || other.shape != tensor.shape) {
        fail(ErrorCode::kCorrupt, "'{}': tensor '{}' is not what was written",
             written.path.string(), name);
      }
      release_pages(other.bytes);
      release_pages(tensor.bytes);
    }
    progress.end();
  }

 private:
  PartInfo info_{.id = "gguf",
                 .summary = "a GGUF file in ggml's types, for llama.cpp and what is built on it",
                 .source = "ggml, docs/gguf.md (MIT)"};
};

const Registration<OutputFormat, GgufOutput> kRegistration;

}  // namespace
}  // namespace bitsmith
