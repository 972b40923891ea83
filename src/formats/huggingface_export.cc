#include "formats/huggingface_export.h"

#include <unistd.h>

#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "core/error_context.h"
#include "core/output_file.h"
#include "families/family.h"
#include "formats/folder_format.h"
#include "formats/gguf_config.h"
#include "formats/huggingface.h"
#include "formats/json_text.h"
#include "formats/plain_model.h"
#include "formats/tensor_error.h"
#include "graph/round_inputs.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kRows = 64;  // decoded at a time

// More than scales that are inverted twice, each time rounded, can change.
constexpr double kLastBits = 0x1p-22;

// One parameter on its way into the folder.
struct Planned {
  const CodedTensor* tensor = nullptr;
  bool packed = false;
  DType dtype = DType::kF32;  // of one that is not packed
  bool as_it_is = false;
  float offset = 0;    // what the file's numbers lack, see Family::norm_offset()
  std::string reason;  // why a coded matrix becomes numbers
};

}  // namespace

void check_new_folder(const fs::path& target) {
  if (target.empty()) fail(ErrorCode::kInvalidArgument, "the name of the folder is empty");
  std::error_code error;
  if (!fs::exists(target, error)) return;
  if (fs::is_directory(target, error) && fs::is_empty(target, error)) return;
  fail(ErrorCode::kInvalidArgument, "'{}' is there already; name a folder that is not",
       target.string());
}

namespace {

// A folder that gets its name when it is complete.
class OutputFolder {
 public:
  explicit OutputFolder(const fs::path& target)
      : target_(target.has_filename() ? target : target.parent_path()),
        temporary_(target_.string() + fmt::format(".tmp{}", ::getpid())) {
    check_new_folder(target_);
    std::error_code error;
    fs::create_directories(temporary_, error);
    if (error) {
      fail(ErrorCode::kEnvironment, "cannot make the folder '{}': {}", temporary_.string(),
           error.message());
    }
  }
  ~OutputFolder() {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const fs::path& path() const { return temporary_; }
  void write(const std::string& name, std::string_view text) const {
    OutputFile file(temporary_ / name);
    file.write(text);
    file.commit();
  }
  void commit() const { move_file(temporary_, target_); }

 private:
  fs::path target_;
  fs::path temporary_;
};

std::optional<DType> own_dtype(const CodedTensor& tensor) {
  const std::string& codec = tensor.scheme.codec->info().id;
  if (codec == "f32") return DType::kF32;
  if (codec == "f16") return DType::kF16;
  if (codec == "bf16") return DType::kBF16;
  return std::nullopt;
}

DType dense_dtype(const std::string& name) {
  if (name.empty() || name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "bf16") return DType::kBF16;
  fail(ErrorCode::kInvalidArgument, "'{}' is not f32, f16 or bf16", name);
}

// The numbers that a file holds in the place of a norm's gains.
std::vector<float> without_offset(const CodedTensor& tensor, float offset) {
  std::vector<float> numbers = tensor.decode_all();
  for (float& x : numbers) x -= offset;
  return numbers;
}

// float32 if `wanted` does not hold all numbers.
DType holding_dtype(const std::vector<float>& numbers, DType wanted) {
  const bool held = std::ranges::all_of(numbers, [&](float x) {
    return (wanted == DType::kBF16 ? bf16_to_float(float_to_bf16(x))
                                   : f16_to_float(float_to_f16(x))) == x;
  });
  return held ? wanted : DType::kF32;
}

// GGUF keeps divisors of frequencies, which transformers does not know: those of Llama 3 are made
// from four numbers. "rope_scaling" as transformers has it.
json usual_rope_scaling(const json& config) {
  const json scaling = config.value("rope_scaling", json());
  if (!scaling.is_object() || scaling.value("rope_type", "") != "factors") return scaling;
  json llama3 = {{"rope_type", "llama3"},
                 {"factor", std::ranges::max(scaling["factors"].get<std::vector<double>>())},
                 {"low_freq_factor", 1.0},
                 {"high_freq_factor", 4.0},
                 {"original_max_position_embeddings", 8192}};
  json other = config;
  other["rope_scaling"] = llama3;
  const std::vector<float> own = rope_factors_of(config);
  const std::vector<float> usual = rope_factors_of(other);
  const bool same = std::ranges::equal(
      own, usual, [](float a, float b) { return std::abs(a - b) <= 1e-5F * std::abs(a); });
  if (!same) {
    fail(ErrorCode::kUnsupported,
         "its rotary frequencies have factors (rope_freqs.weight) that config.json cannot express");
  }
  return llama3;
}

// Matrices that are only multiplied, by layers that quantized models keep codes of.
std::set<std::string> layer_matrices(const Model& model) {
  std::set<std::string> names;
  std::set<std::string> others;
  for (const Node& node : model.graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kNoValue) continue;
      const Value& value = model.graph.value(node.inputs[i]);
      if (value.kind != ValueKind::kParameter) continue;
      const bool layer = node.op == "linear" && i == 1 && value.name.ends_with(".weight") &&
                         value.name != "lm_head.weight";
      (layer ? names : others).insert(value.name);
    }
  }
  for (const std::string& name : others) names.erase(name);
  return names;
}

// To how many bits everything that the layers read is rounded per token, of a model whose graph is
// that of its config.json but for that; 0 for others. What the head reads, which stays numbers in
// folders, may be rounded or not.
int64_t rounded_bits(const Model& model) {
  const auto node = std::ranges::find(model.graph.nodes, "round_tokens", &Node::op);
  if (node == model.graph.nodes.end()) return 0;
  const int64_t bits = node->integer("bits");
  const json own = model.graph.to_json();
  const std::set<std::string> layers = layer_matrices(model);
  for (const bool all : {true, false}) {
    const Graph graph =
        with_rounded_inputs(build_graph(model.config), bits,
                            [&](const std::string& name) { return all || layers.contains(name); });
    if (graph.to_json() == own) return bits;
  }
  return 0;
}

class Export {
 public:
  Export(const Model& model, const FolderExport& options) : model_(model), options_(options) {
    const int64_t bits = options.format != kPlainFolder ? rounded_bits(model) : 0;
    if (bits > 0) {
      writer_ = Registry<FolderFormat>::instance().get(options.format).rounded_writer(bits);
    }
    rounded_ = writer_ != nullptr;
    if (!rounded_) check_is_plain(model, "Hugging Face folders hold");
    rope_scaling_ =
        with_context(model.path.string(), [&] { return usual_rope_scaling(model.config); });
    const std::set<std::string> layers = layer_matrices(model);
    if (options.format != kPlainFolder && !rounded_) {
      std::vector<const CodedTensor*> candidates;
      for (const std::string& name : layers) candidates.push_back(&model.parameter(name));
      writer_ = Registry<FolderFormat>::instance().get(options.format).writer(candidates);
    }
    const float norm_offset = family_of(model.config).norm_offset();
    for (const ValueId id : model.graph.parameters()) {
      const CodedTensor& tensor = model.parameter(model.graph.value(id).name);
      const float offset = model.graph.value(id).role == "norm" ? norm_offset : 0;
      plans_.push_back(plan(tensor, layers.contains(tensor.name), offset));
      if (plans_.back().packed) {
        packed_.push_back(&tensor);
      } else if (tensor.shape.size() == 2 &&
                 (layers.contains(tensor.name) || tensor.name == "lm_head.weight")) {
        plain_.push_back(module_of(tensor.name));
      }
    }
    // Of tied models too: engines have a layer of that name.
    if (std::ranges::find(plain_, "lm_head") == plain_.end()) plain_.push_back("lm_head");
    find_siblings();
    if (rounded_) check_all_packed(layers);
    if (writer_ != nullptr && packed_.empty()) {
      fail(ErrorCode::kInvalidArgument,
           "'{}' has no matrix whose codes {} can hold{}; compress it first, as with --recipe gptq "
           "--set code.bits=4 --set code.group=64",
           model.path.string(), options.format, first_reason(layers));
    }
  }

  FolderReport run(const fs::path& folder) {
    const OutputFolder output(folder);
    output.write("config.json", config().dump(2) + "\n");
    for (const auto& [name, text] : model_.tokenizer_files) output.write(name, text);
    write_tensors(output.path() / "model.safetensors");
    compare(open_huggingface(output.path()));
    output.commit();
    return std::move(report_);
  }

 private:
  Planned plan(const CodedTensor& tensor, bool layer, float offset) const {
    Planned planned;
    planned.tensor = &tensor;
    if (offset != 0) {
      planned.offset = offset;
      planned.dtype = holding_dtype(without_offset(tensor, offset), plans_.front().dtype);
      planned.reason = fmt::format("the format holds gains minus {}", offset);
      return planned;
    }
    const std::optional<DType> own = own_dtype(tensor);
    planned.as_it_is = own.has_value();
    planned.dtype = own ? *own : dense_dtype(options_.dense);
    if (own) return planned;
    if (writer_ == nullptr) {
      planned.reason = tensor.scheme.label();
    } else if (!layer) {
      planned.reason = fmt::format("{}: embeddings and heads are numbers in these folders",
                                   tensor.scheme.label());
    } else {
      planned.reason = writer_->refusal(tensor);
      planned.packed = planned.reason.empty();
    }
    return planned;
  }

  // Engines round the inputs of all layers or of none.
  void check_all_packed(const std::set<std::string>& layers) const {
    for (const Planned& p : plans_) {
      if (!layers.contains(p.tensor->name) || p.packed) continue;
      fail(ErrorCode::kUnsupported, "tensor {}, whose layer reads rounded activations: {}",
           quoted_name(p.tensor->name), p.reason.empty() ? p.tensor->scheme.label() : p.reason);
    }
  }

  std::string first_reason(const std::set<std::string>& layers) const {
    for (const Planned& p : plans_) {
      if (layers.contains(p.tensor->name) && !p.reason.empty()) return " (" + p.reason + ")";
    }
    return "";
  }

  // vLLM joins layers that read the same: all of them must be coded alike.
  void find_siblings() {
    if (writer_ == nullptr) return;
    std::map<std::string, std::set<std::string>> labels;  // by what joins them
    for (const Planned& p : plans_) {
      if (!p.tensor->name.ends_with(".weight")) continue;
      const std::string joined = joined_module(module_of(p.tensor->name));
      if (!joined.empty()) {
        labels[joined].insert(p.packed ? writer_->joined_form(*p.tensor) : "numbers");
      }
    }
    for (const auto& [joined, kinds] : labels) {
      if (kinds.size() > 1) ++report_.unequal_layers;
    }
  }

  json config() const {
    json config = model_.config;
    config.erase("quantization_config");
    config.erase("dtype");
    if (!config.contains("architectures")) {
      const auto type = config["model_type"].get<std::string>();
      std::string name = type.substr(0, type.find("_text"));
      name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
      config["architectures"] = {name + "ForCausalLM"};
    }
    if (!rope_scaling_.is_null()) config["rope_scaling"] = rope_scaling_;
    config["torch_dtype"] = writer_ != nullptr ? writer_->dtype(packed_) : written_dtype();
    if (writer_ != nullptr) {
      config["quantization_config"] = writer_->config(packed_, plain_);
    }
    return config;
  }

  // Of the numbers; float32 if they are of several types.
  std::string written_dtype() const {
    std::set<DType> dtypes;
    for (const Planned& p : plans_) dtypes.insert(p.dtype);
    if (dtypes == std::set{DType::kF16}) return "float16";
    return dtypes == std::set{DType::kBF16} ? "bfloat16" : "float32";
  }

  // Twice, so that one matrix is in memory at a time: the header comes first.
  void write_tensors(const fs::path& path) {
    std::vector<SafetensorsWriter::Entry> entries;
    for (const Planned& p : plans_) {
      if (!p.packed) {
        entries.push_back({p.tensor->name, p.dtype, p.tensor->shape});
        continue;
      }
      for (FolderTensor& part : writer_->pack(*p.tensor)) entries.push_back(std::move(part.entry));
    }
    for (const auto& entry : entries) report_.bytes += entry.size_bytes();
    SafetensorsWriter writer(path, std::move(entries), {{"format", "pt"}});
    for (const Planned& p : plans_) {
      report_.weights += *element_count(p.tensor->shape);
      if (p.packed) {
        ++report_.coded;
        for (const FolderTensor& part : writer_->pack(*p.tensor)) {
          writer.append(part.entry.name, part.bytes);
        }
      } else if (p.offset != 0) {
        write_as(without_offset(*p.tensor, p.offset), p, writer);
      } else if (p.as_it_is) {
        writer.append(p.tensor->name, p.tensor->bytes);
      } else {
        write_numbers(p, writer);
      }
      if (options_.after_write) options_.after_write(*p.tensor);
    }
    writer.commit();
  }

  static void write_numbers(const Planned& p, SafetensorsWriter& writer) {
    const MatrixShape shape = p.tensor->matrix();
    std::vector<float> numbers;
    for (int64_t row = 0; row < shape.rows; row += kRows) {
      const int64_t count = std::min(kRows, shape.rows - row);
      numbers.resize(static_cast<size_t>(count * shape.cols));
      p.tensor->decode(row, count, numbers.data());
      write_as(numbers, p, writer);
    }
  }

  static void write_as(const std::vector<float>& numbers, const Planned& p,
                       SafetensorsWriter& writer) {
    if (p.dtype == DType::kF32) {
      writer.append(p.tensor->name, std::as_bytes(std::span(numbers)));
      return;
    }
    std::vector<uint16_t> halves;
    for (const float x : numbers) {
      halves.push_back(p.dtype == DType::kF16 ? float_to_f16(x) : float_to_bf16(x));
    }
    writer.append(p.tensor->name, std::as_bytes(std::span(halves)));
  }

  void compare(const Model& written) {
    for (const Planned& p : plans_) {
      const CodedTensor& other = written.parameter(p.tensor->name);
      const double error = relative_error(*p.tensor, other);
      report_.tensors.push_back(
          {p.tensor->name, p.tensor->scheme.label(), other.scheme.label(), error});
      const bool exact = p.packed || p.as_it_is || (p.dtype == DType::kF32 && p.offset == 0);
      if (exact && error > (p.packed ? kLastBits : 0)) {
        fail(ErrorCode::kCorrupt, "tensor {} was written, but reads differently by {}",
             quoted_name(p.tensor->name), error);
      }
      if (p.packed && error != 0) {
        if (options_.exact) {
          fail(ErrorCode::kUnsupported,
               "tensor {} ({}) would change by {:.2e} of its size, as {} rounds its scales; "
               "--lossy allows that",
               quoted_name(p.tensor->name), p.tensor->scheme.label(), error, options_.format);
        }
        report_.notes.push_back({p.tensor->name, "codes, with scales that are rounded", error});
      }
      if (p.packed || p.as_it_is || (p.offset != 0 && error == 0)) continue;
      report_.notes.push_back(
          {p.tensor->name, fmt::format("{} ({})", to_string(p.dtype), p.reason), error});
    }
  }

  const Model& model_;
  const FolderExport& options_;
  std::unique_ptr<FolderWriter> writer_;  // none: all as numbers
  bool rounded_ = false;                  // what layers read
  std::vector<Planned> plans_;
  std::vector<const CodedTensor*> packed_;
  std::vector<std::string> plain_;
  json rope_scaling_;
  FolderReport report_;
};

}  // namespace

FolderReport export_folder(const std::filesystem::path& folder, const Model& model,
                           const FolderExport& options) {
  return Export(model, options).run(folder);
}

}  // namespace bitsmith
