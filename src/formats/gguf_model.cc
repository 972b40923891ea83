#include "formats/gguf_model.h"

#include <cstring>
#include <set>

#include "core/error_context.h"
#include "core/spilled_file.h"
#include "families/family.h"
#include "formats/gguf_config.h"
#include "formats/gguf_names.h"
#include "formats/gguf_tokenizer.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

using nlohmann::json;

const GgufTensor& locate(const Gguf& gguf, const std::string& name) {
  const auto found = gguf.tensors.find(name);
  if (found == gguf.tensors.end()) {
    fail(ErrorCode::kNotFound, "'{}': tensor {}, which the metadata asks for, is not there",
         gguf.file, quoted_name(name));
  }
  return found->second;
}

// The scale of a whole NVFP4 tensor lies beside it: "blk.0.attn_q.scale".
json codec_options(const Gguf& gguf, const std::string& name, const GgufTensor& tensor,
                   std::set<std::string, std::less<>>& used) {
  if (tensor.type->codec != "nvfp4_ggml") return json::object();
  const std::string beside = name.substr(0, name.rfind('.')) + ".scale";
  const auto found = gguf.tensors.find(beside);
  if (found == gguf.tensors.end()) return {{"tensor_scale", 1.0}};
  const GgufTensor& scale = found->second;
  if (scale.type->name != "F32" || scale.bytes.size() != sizeof(float)) {
    fail(ErrorCode::kUnsupported, "'{}': {} should be one F32 number", gguf.file,
         quoted_name(beside));
  }
  float value;
  std::memcpy(&value, scale.bytes.data(), sizeof(value));
  used.insert(beside);
  return {{"tensor_scale", static_cast<double>(value)}};
}

// Reads one file's tensors as parameters of a graph.
class Parameters {
 public:
  Parameters(const Gguf& gguf, Model& model)
      : gguf_(gguf),
        architecture_(gguf_architecture(gguf)),
        head_dim_(model.config.value("head_dim", int64_t{1})),
        model_(model) {}

  void read() {
    for (const ValueId id : model_.graph.parameters()) {
      const Value& value = model_.graph.value(id);
      model_.parameters.emplace(value.name, coded_tensor(value));
    }
    copy_paired_rows();
    for (const auto& [name, tensor] : gguf_.tensors) {
      if (!used_.contains(name)) model_.unused_tensors.push_back(name);
    }
  }

 private:
  CodedTensor coded_tensor(const Value& value) {
    const auto name = gguf_tensor_name(value.name, architecture_);
    if (!name) {
      fail(ErrorCode::kUnsupported, "'{}': GGUF has no name for the parameter {}", gguf_.file,
           quoted_name(value.name));
    }
    const GgufTensor& tensor = locate(gguf_, *name);
    if (tensor.shape != value.shape) {
      fail(ErrorCode::kCorrupt, "'{}': tensor {} has shape {}, the metadata asks for {}",
           gguf_.file, quoted_name(*name), to_string(tensor.shape), to_string(value.shape));
    }
    if (tensor.type->codec.empty()) {
      fail(ErrorCode::kUnsupported, "'{}': tensor {} is of type {}, which bitsmith cannot decode",
           gguf_.file, quoted_name(*name), tensor.type->name);
    }
    used_.insert(*name);
    return {value.name, value.shape,
            Scheme(tensor.type->codec, codec_options(gguf_, *name, tensor, used_)), tensor.bytes};
  }

  void copy_paired_rows() {
    std::vector<CodedTensor*> paired;
    size_t size = 0;
    for (auto& [name, tensor] : model_.parameters) {
      if (!has_paired_rows(name, architecture_)) continue;
      paired.push_back(&tensor);
      size += tensor.bytes.size();
    }
    if (size == 0) return;
    model_.files.push_back(std::make_shared<MappedFile>(
        spilled_file(size, [&](std::span<std::byte> to) { copy_rows(paired, to); })));
    size_t position = 0;
    for (CodedTensor* tensor : paired) {
      const size_t bytes = tensor->bytes.size();
      tensor->bytes = model_.files.back()->bytes().subspan(position, bytes);
      position += bytes;
    }
  }

  void copy_rows(const std::vector<CodedTensor*>& tensors, std::span<std::byte> to) const {
    std::byte* out = to.data();
    for (const CodedTensor* tensor : tensors) {
      const int64_t rows = tensor->shape[0];
      const size_t row_bytes = tensor->bytes.size() / static_cast<size_t>(rows);
      for (const int64_t row : rows_from_gguf(rows, head_dim_)) {
        std::memcpy(out, tensor->bytes.data() + static_cast<size_t>(row) * row_bytes, row_bytes);
        out += row_bytes;
      }
      release_pages({out - tensor->bytes.size(), tensor->bytes.size()});
    }
  }

  const Gguf& gguf_;
  std::string architecture_;
  int64_t head_dim_;
  Model& model_;
  // The factors of frequencies are in the configuration.
  std::set<std::string, std::less<>> used_ = {"rope_freqs.weight"};
};

Model model_of(const Gguf& gguf) {
  const std::string type = gguf.text("general.type").value_or("model");
  if (type != "model") {
    fail(ErrorCode::kUnsupported, "'{}' is a GGUF file of type {}, expected a model", gguf.file,
         quoted_name(type));
  }
  Model model;
  model.path = gguf.file;
  model.format = "gguf";
  model.config = config_from_gguf(gguf);
  model.graph = with_context(gguf.file, [&] { return build_graph(model.config); });
  Parameters(gguf, model).read();
  model.tokenizer_files = tokenizer_from_gguf(gguf);
  return model;
}

}  // namespace

Model open_gguf(const std::filesystem::path& path) {
  GgufFiles opened = open_gguf_files(path);
  Model model = model_of(opened.gguf);
  model.path = path;
  for (const auto& file : opened.files) release_pages(file->bytes());  // of what was copied
  model.files.insert(model.files.end(), opened.files.begin(), opened.files.end());
  return model;
}

Model read_gguf_model(std::span<const std::byte> bytes, const std::string& file) {
  return model_of(read_gguf(bytes, file));
}

}  // namespace bitsmith
