#include "formats/huggingface.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

#include "core/error_context.h"
#include "core/output_file.h"
#include "families/family.h"
#include "formats/buffers.h"
#include "formats/checkpoint_metadata.h"
#include "formats/folder_format.h"
#include "formats/json_text.h"
#include "formats/safetensors.h"
#include "graph/round_inputs.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr size_t kMaxEndTokens = 1024;
constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;

constexpr std::string_view kEmbedding = "model.embed_tokens.weight";
constexpr std::string_view kHead = "lm_head.weight";

// One tensor of the folder and the shard it lies in.
struct Located {
  const SafetensorsTensor* tensor = nullptr;
  const Safetensors* shard = nullptr;
};

// All shards of a folder, with a directory of their tensors.
class Shards {
 public:
  void open(const fs::path& path) {
    const auto mapped = std::make_shared<MappedFile>(path);
    files.push_back(mapped);
    shards_.push_back(
        std::make_unique<Safetensors>(read_safetensors(mapped->bytes(), path.string())));
    const Safetensors& shard = *shards_.back();
    for (const auto& [name, tensor] : shard.tensors) {
      const auto [other, added] = tensors.emplace(name, Located{&tensor, &shard});
      if (!added) {
        fail(ErrorCode::kCorrupt, "tensor {} is in two files, '{}' and '{}'", quoted_name(name),
             other->second.shard->file, shard.file);
      }
    }
  }

  // The tensor, or the one that a shard's metadata says was kept in its place (torch writes shared
  // weights once: metadata {"model.embed_tokens.weight": "lm_head.weight"}). nullptr if none.
  const Located* find(std::string_view name) const {
    if (const auto found = tensors.find(name); found != tensors.end()) return &found->second;
    for (const auto& shard : shards_) {
      const auto alias = shard->metadata.find(std::string(name));
      if (alias == shard->metadata.end()) continue;
      if (const auto found = tensors.find(alias->second); found != tensors.end()) {
        return &found->second;
      }
    }
    return nullptr;
  }

  std::map<std::string, Located, std::less<>> tensors;
  std::vector<std::shared_ptr<MappedFile>> files;

 private:
  std::vector<std::unique_ptr<Safetensors>> shards_;
};

// Opens the shards that model.safetensors.index.json names.
void open_indexed(const fs::path& index, Shards& shards) {
  const std::string what = fmt::format("'{}'", index.string());
  const json document =
      parse_json_object_text(read_file(index, kMaxIndexBytes), what, kMaxIndexBytes);
  const auto map = document.find("weight_map");
  if (map == document.end() || !map->is_object()) {
    fail(ErrorCode::kCorrupt, "{}: 'weight_map' should be an object of tensor: file", what);
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !checkpoint::is_plain_file_name(file.get_ref<const std::string&>())) {
      fail(ErrorCode::kCorrupt, "{}: tensor {} should name a file in the same folder, got {}", what,
           quoted_name(tensor), quoted_name(file.dump()));
    }
    names.insert(file.get<std::string>());
  }
  for (const std::string& name : names) {
    const fs::path path = index.parent_path() / name;
    if (!fs::exists(path)) {
      fail(ErrorCode::kNotFound,
           "{} names the shard '{}', which is not there ({} shards in all; "
           "incomplete download?)",
           what, name, names.size());
    }
    shards.open(path);
  }
  for (const auto& [tensor, file] : map->items()) {
    const auto found = shards.tensors.find(tensor);
    const fs::path path = index.parent_path() / file.get_ref<const std::string&>();
    if (found == shards.tensors.end() || found->second.shard->file != path.string()) {
      fail(ErrorCode::kCorrupt, "{} says that tensor {} is in '{}', but it is not", what,
           quoted_name(tensor), file.get_ref<const std::string&>());
    }
  }
}

// What else the folder holds, for a message.
std::string other_weights(const fs::path& folder) {
  constexpr std::array kEndings = {".bin", ".pt", ".pth", ".gguf", ".onnx", ".safetensors"};
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string ending = entry.path().extension().string();
    if (std::ranges::find(kEndings, ending) != kEndings.end()) {
      return fmt::format(
          "; '{}' is there, which is not read: convert the model with "
          "save_pretrained(safe_serialization=True)",
          entry.path().filename().string());
    }
  }
  return "";
}

void open_shards(const fs::path& folder, Shards& shards) {
  const fs::path single = folder / "model.safetensors";
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(single)) {
    shards.open(single);
  } else if (fs::exists(index)) {
    open_indexed(index, shards);
  } else {
    fail(ErrorCode::kNotFound,
         "'{}' has neither model.safetensors nor model.safetensors.index.json{}", folder.string(),
         other_weights(folder));
  }
}

json read_config(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  return parse_json_object_text(read_file(path, kMaxConfigBytes),
                                fmt::format("'{}'", path.string()), kMaxConfigBytes);
}

// For folders of quantized models, whose "quantization_config" goes; nullptr for others.
std::unique_ptr<FolderReader> take_reader(json& config) {
  const json quantization = config.value("quantization_config", json());
  config.erase("quantization_config");
  if (quantization.is_null()) return nullptr;
  const json method = quantization.is_object() ? quantization.value("quant_method", json("unknown"))
                                               : json("unknown");
  const std::string name = method.is_string() ? method.get<std::string>() : method.dump();
  const FolderFormat* format = Registry<FolderFormat>::instance().find(name);
  if (format == nullptr) {
    std::vector<std::string> known;
    for (const FolderFormat* f : Registry<FolderFormat>::instance().all()) {
      known.push_back(f->info().id);
    }
    fail(ErrorCode::kUnsupported,
         "the model is quantized already, by quant_method {}; read are: {}; open the original "
         "instead",
         quoted_name(name), fmt::join(known, ", "));
  }
  return format->reader(quantization);
}

// A list as it is, one value as a list of it, null as none.
json as_list(const json& value) {
  if (value.is_array()) return value;
  return value.is_null() ? json::array() : json::array({value});
}

// Adds the end tokens of generation_config.json, which may be more than config.json has (the end of
// a turn beside the end of a text), to "eos_token_id": one token or a list.
void merge_end_tokens(const fs::path& folder, json& config) {
  const fs::path path = folder / "generation_config.json";
  if (!fs::exists(path)) return;
  const std::string what = fmt::format("'{}'", path.string());
  const json generation =
      parse_json_object_text(read_file(path, kMaxConfigBytes), what, kMaxConfigBytes);
  const json more = as_list(generation.value("eos_token_id", json()));
  for (const json& token : more) {
    if (token.is_number_unsigned() && std::in_range<TokenId>(token.get<uint64_t>())) continue;
    fail(ErrorCode::kCorrupt, "{}: 'eos_token_id' should be a token or a list of tokens, got {}",
         what, quoted_name(token.dump()));
  }
  json tokens = as_list(config.value("eos_token_id", json()));
  if (tokens.size() + more.size() > kMaxEndTokens) {
    fail(ErrorCode::kCorrupt, "{}: {} end tokens with those of config.json; at most {} are read",
         what, tokens.size() + more.size(), kMaxEndTokens);
  }
  for (const json& token : more) {
    if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
  }
  if (!tokens.empty()) config["eos_token_id"] = tokens.size() == 1 ? tokens[0] : tokens;
}

// What config.json says: true, false, or null if it is silent.
json tied(const json& config) { return config.value("tie_word_embeddings", json()); }

const Located& locate(const Shards& shards, const std::string& name, const json& config,
                      const fs::path& folder) {
  const Located* found = shards.find(name);
  if (found == nullptr && name == kEmbedding && tied(config) == true) found = shards.find(kHead);
  if (found == nullptr) {
    const bool of_pair = name == kEmbedding || name == kHead;
    fail(ErrorCode::kNotFound,
         "'{}': tensor {}, which config.json asks for{}, is in none of its {} files",
         folder.string(), quoted_name(name),
         of_pair && tied(config) == false ? " by \"tie_word_embeddings\": false" : "",
         shards.files.size());
  }
  return *found;
}

CodedTensor coded_tensor(const Value& value, const Located& located) {
  const SafetensorsTensor& tensor = *located.tensor;
  const std::string& file = located.shard->file;
  if (tensor.shape != value.shape) {
    fail(ErrorCode::kCorrupt, "'{}': tensor {} has shape {}, config.json asks for {}", file,
         quoted_name(value.name), to_string(tensor.shape), to_string(value.shape));
  }
  const std::string_view codec = tensor.dtype == "F32"    ? "f32"
                                 : tensor.dtype == "F16"  ? "f16"
                                 : tensor.dtype == "BF16" ? "bf16"
                                                          : "";
  if (codec.empty()) {
    fail(ErrorCode::kUnsupported, "'{}': tensor {} is of type {}; expected F32, F16 or BF16", file,
         quoted_name(value.name), tensor.dtype);
  }
  return {value.name, value.shape, Scheme(codec, json::object()), tensor.bytes};
}

// A norm's gains, of a file that holds them minus `offset`.
CodedTensor add_offset(const CodedTensor& stored, float offset, ByteBuffers& buffers) {
  std::vector<float> gains = stored.decode_all();
  for (float& gain : gains) gain += offset;
  const auto bytes = std::as_bytes(std::span(gains));
  buffers.push_back(std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
  return {stored.name, stored.shape, Scheme("f32", json::object()), *buffers.back()};
}

// Tensors that carry no knowledge: constants that some versions of transformers saved.
bool is_harmless(std::string_view name) {
  constexpr std::array<std::string_view, 4> kEndings = {
      "rotary_emb.inv_freq", "attn.masked_bias", "rotary_emb.cos_cached", "rotary_emb.sin_cached"};
  return std::ranges::any_of(kEndings, [&](std::string_view end) { return name.ends_with(end); });
}

// Throws kCorrupt if `name` is of a layer that config.json does not have: "model.layers.9.…" of 4.
void check_layer(const std::string& name, const Model& model) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return;
  uint64_t layer = 0;
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, layer);
  const auto layers = model.config["num_hidden_layers"].get<uint64_t>();
  if (error != std::errc() || rest == end || *rest != '.' || layer < layers) return;
  fail(ErrorCode::kCorrupt,
       "'{}': config.json says \"num_hidden_layers\": {}, but there is the tensor {}; they do not "
       "belong together",
       model.path.string(), layers, quoted_name(name));
}

}  // namespace

Model open_huggingface(const fs::path& folder) {
  if (!fs::exists(folder / "config.json")) {
    fail(ErrorCode::kNotFound, "'{}' is no Hugging Face model folder: it has no config.json",
         folder.string());
  }
  Model model;
  model.path = folder;
  model.format = "huggingface";
  model.config = read_config(folder);
  const std::unique_ptr<FolderReader> reader =
      with_context((folder / "config.json").string(), [&] { return take_reader(model.config); });
  merge_end_tokens(folder, model.config);
  Shards shards;
  open_shards(folder, shards);
  // A quantized head is "lm_head.qweight" and others.
  const auto head = shards.tensors.lower_bound("lm_head.");
  const bool has_head = head != shards.tensors.end() && head->first.starts_with("lm_head.");
  const bool has_both = shards.find(kEmbedding) != nullptr &&
                        (shards.find(kHead) != nullptr || (reader != nullptr && has_head));
  if (!has_both && tied(model.config).is_null()) model.config["tie_word_embeddings"] = true;
  model.graph = with_context(folder.string(), [&] { return build_graph(model.config); });

  std::set<const SafetensorsTensor*> used;
  std::set<std::string> quantized;
  std::vector<const SafetensorsTensor*> touched;  // by what is being read
  const FolderReader::Find find = [&](const std::string& name) -> const SafetensorsTensor* {
    const auto found = shards.tensors.find(name);
    if (found == shards.tensors.end()) return nullptr;
    used.insert(found->second.tensor);
    touched.push_back(found->second.tensor);
    return found->second.tensor;
  };
  const float norm_offset = family_of(model.config).norm_offset();
  for (const ValueId id : model.graph.parameters()) {
    const Value& value = model.graph.value(id);
    if (reader != nullptr && value.shape.size() == 2 && value.name.ends_with(".weight")) {
      auto coded = with_context(folder.string(), [&] {
        return reader->read(value.name, value.shape, find, model.buffers);
      });
      for (const SafetensorsTensor* part : touched) release_pages(part->bytes);
      touched.clear();
      if (coded) {
        model.parameters.emplace(value.name, std::move(*coded));
        quantized.insert(value.name);
        settle_large_buffers(model);
        continue;
      }
    }
    const Located& located = locate(shards, value.name, model.config, folder);
    used.insert(located.tensor);
    CodedTensor tensor = coded_tensor(value, located);
    if (value.role == "norm" && norm_offset != 0) {
      tensor = add_offset(tensor, norm_offset, model.buffers);
    }
    model.parameters.emplace(value.name, std::move(tensor));
  }
  for (const auto& [name, located] : shards.tensors) {
    const bool tied_head = name == kHead && tied(model.config) == true;
    if (used.contains(located.tensor) || is_harmless(name) || tied_head) continue;
    check_layer(name, model);
    model.unused_tensors.push_back(name);
  }
  if (reader != nullptr) {
    model.notes = reader->notes();
    if (const int64_t bits = reader->token_bits(); bits > 0) {
      model.graph = with_rounded_inputs(std::move(model.graph), bits, [&](const std::string& name) {
        return quantized.contains(name);
      });
    }
  }
  model.tokenizer_files = read_tokenizer_files(folder);
  model.files.insert(model.files.end(), shards.files.begin(), shards.files.end());
  return model;
}

}  // namespace bitsmith
