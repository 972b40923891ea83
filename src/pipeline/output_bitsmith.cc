// Output format `bitsmith`: the checkpoint of docs/FORMAT.md.
#include <algorithm>

#include "pipeline/output_format.h"

namespace bitsmith {
namespace {

using nlohmann::json;

class BitsmithOutput final : public OutputFormat {
 public:
  const PartInfo& info() const override { return info_; }
  const char* usual_recipe() const override { return "gptq-mix"; }

  void check(const Model&, const Recipe&) const override {}

  std::vector<Scheme> named_schemes(const std::string& type, const Model&,
                                    const std::vector<MatrixTask>&) const override {
    fail(ErrorCode::kInvalidArgument,
         "--type '{}': types are GGUF's; use --to gguf, or choose codes with --recipe and --set",
         type);
  }

  Scheme kept(const CodedTensor& tensor) const override { return tensor.scheme; }

  std::optional<Scheme> fitting(const Scheme& wanted, const MatrixShape& shape) const override {
    try {
      wanted.codec->encoded_bytes(shape, wanted.options);
      return wanted;
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  uint64_t stored_bytes(const MatrixShape& shape, const Scheme& scheme) const override {
    return scheme.codec->encoded_bytes(shape, scheme.options);
  }

  uint64_t overhead_bytes(const Model& model, const Recipe& recipe) const override {
    // Graph and configuration are text inside JSON text, where quotes take two bytes.
    uint64_t bytes = 8192;
    for (const auto& [name, content] : model.tokenizer_files) bytes += content.size() + 256;
    for (const json* text : {&model.config, &recipe.definition}) {
      bytes += text->dump().size() * 5 / 4;
    }
    const std::string graph = model.graph.to_json().dump();
    bytes += graph.size() + static_cast<uint64_t>(std::ranges::count(graph, '"'));
    for (const ValueId id : model.graph.parameters()) {
      bytes += 2 * model.graph.value(id).name.size() + 320;
    }
    return bytes;
  }

  void write(const std::filesystem::path& path, const CheckpointContents& contents,
             const std::string& /*name*/) const override {
    write_checkpoint(path, contents);
  }

  Model open(const std::filesystem::path& path) const override { return open_checkpoint(path); }

  void verify(const Model& written, const CheckpointContents&, Progress& progress) const override {
    verify_checkpoint(written, progress);
  }

 private:
  PartInfo info_{.id = "bitsmith",
                 .summary = "bitsmith's own checkpoint, every codec",
                 .source = "docs/FORMAT.md"};
};

const Registration<OutputFormat, BitsmithOutput> kRegistration;

}  // namespace
}  // namespace bitsmith
