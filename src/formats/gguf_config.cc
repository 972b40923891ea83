#include "formats/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "families/rope.h"
#include "families/window.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

using nlohmann::json;

// An architecture and the model_type that its files are read as.
struct Architecture {
  std::string_view name;
  std::string_view model_type;
};
constexpr std::array<Architecture, 6> kArchitectures = {{{"llama", "llama"},
                                                         {"qwen2", "qwen2"},
                                                         {"qwen3", "qwen3"},
                                                         {"gemma", "gemma"},
                                                         {"gemma2", "gemma2"},
                                                         {"gemma3", "gemma3_text"}}};

bool is_gemma(std::string_view architecture) { return architecture.starts_with("gemma"); }

// Every n-th layer is without a window where llama.cpp knows no other n; 0: layers have none.
int64_t window_period(std::string_view architecture) {
  return architecture == "gemma2" ? 2 : architecture == "gemma3" ? 6 : 0;
}

// By whose root llama.cpp divides scores: the head dimension, but in the largest models of Gemma 2
// and 3, which it knows by their number of layers.
int64_t query_scalar(std::string_view architecture, int64_t layers, int64_t hidden, int64_t heads,
                     int64_t head_dim) {
  const bool largest =
      (architecture == "gemma2" && layers == 46) || (architecture == "gemma3" && layers == 62);
  return largest ? hidden / heads : head_dim;
}

// What may follow "<architecture>." in a key. Those without a field here change nothing that
// bitsmith computes, or are checked below.
constexpr std::array<std::string_view, 28> kKeys = {"context_length",
                                                    "embedding_length",
                                                    "block_count",
                                                    "feed_forward_length",
                                                    "vocab_size",
                                                    "attention.head_count",
                                                    "attention.head_count_kv",
                                                    "attention.key_length",
                                                    "attention.value_length",
                                                    "attention.layer_norm_rms_epsilon",
                                                    "attention.layer_norm_epsilon",
                                                    "attention.sliding_window",
                                                    "attention.sliding_window_pattern",
                                                    "attn_logit_softcapping",
                                                    "final_logit_softcapping",
                                                    "rope.dimension_count",
                                                    "rope.freq_base",
                                                    "rope.freq_base_swa",
                                                    "rope.scale_linear",
                                                    "rope.scaling.type",
                                                    "rope.scaling.factor",
                                                    "rope.scaling.original_context_length",
                                                    "rope.scaling.attn_factor",
                                                    "rope.scaling.finetuned",
                                                    "rope.scaling.yarn_beta_fast",
                                                    "rope.scaling.yarn_beta_slow",
                                                    "tensor_data_layout",
                                                    "expert_count"};

// Reads the keys of one architecture.
class Keys {
 public:
  explicit Keys(const Gguf& gguf) : gguf_(gguf), prefix_(gguf_architecture(gguf) + ".") {}

  std::string full(std::string_view key) const { return prefix_ + std::string(key); }

  std::optional<int64_t> integer(std::string_view key) const { return gguf_.integer(full(key)); }
  std::optional<std::string> text(std::string_view key) const { return gguf_.text(full(key)); }

  int64_t required(std::string_view key) const {
    const auto value = integer(key);
    if (!value) fail(ErrorCode::kCorrupt, "'{}' has no {}", gguf_.file, full(key));
    return *value;
  }

  std::optional<double> number(std::string_view key) const {
    const auto value = gguf_.number(full(key));
    if (!value) return std::nullopt;
    const GgufValue* raw = gguf_.find(full(key));
    if (raw->type != GgufType::kF32) return value;
    return std::strtod(fmt::format("{}", static_cast<float>(*value)).c_str(), nullptr);
  }

  void refuse_unknown() const {
    for (const auto& [key, value] : gguf_.metadata) {
      if (!key.starts_with(prefix_)) continue;
      const std::string_view name = std::string_view(key).substr(prefix_.size());
      if (std::ranges::find(kKeys, name) != kKeys.end()) continue;
      fail(ErrorCode::kUnsupported,
           "'{}': bitsmith does not know what {} means for the network, and opens no file on a "
           "guess",
           gguf_.file, quoted_name(key));
    }
  }

 private:
  const Gguf& gguf_;
  std::string prefix_;
};

int64_t embedding_rows(const Gguf& gguf) {
  const auto table = gguf.tensors.find("token_embd.weight");
  if (table == gguf.tensors.end() || table->second.shape.size() != 2) {
    fail(ErrorCode::kNotFound, "'{}' has no matrix 'token_embd.weight': it is no language model",
         gguf.file);
  }
  return table->second.shape[0];
}

bool has_tensor(const Gguf& gguf, std::string_view name) { return gguf.tensors.contains(name); }

// Divisors of the rotary frequencies, [head_dim / 2].
json rope_factors(const Gguf& gguf, const GgufTensor& tensor) {
  if (tensor.type->name != "F32") {
    fail(ErrorCode::kUnsupported, "'{}': 'rope_freqs.weight' is of type {}, expected F32",
         gguf.file, tensor.type->name);
  }
  json factors = json::array();
  for (size_t at = 0; at < tensor.bytes.size(); at += sizeof(float)) {
    float factor;
    std::memcpy(&factor, tensor.bytes.data() + at, sizeof(factor));
    factors.push_back(static_cast<double>(factor));
  }
  return factors;
}

json rope_scaling(const Gguf& gguf, const Keys& keys) {
  const std::string type = keys.text("rope.scaling.type").value_or("none");
  const auto factors = gguf.tensors.find("rope_freqs.weight");
  if (factors != gguf.tensors.end()) {
    if (type != "none") {
      fail(ErrorCode::kUnsupported, "'{}' has both 'rope_freqs.weight' and rope scaling of type {}",
           gguf.file, quoted_name(type));
    }
    return {{"rope_type", "factors"}, {"factors", rope_factors(gguf, factors->second)}};
  }
  const auto old_factor = keys.number("rope.scale_linear");
  if (type == "none" && old_factor && *old_factor != 1.0) {
    return {{"rope_type", "linear"}, {"factor", *old_factor}};
  }
  if (type == "none") return nullptr;
  json scaling = {{"rope_type", type}, {"factor", keys.number("rope.scaling.factor").value_or(1)}};
  const auto copy = [&](const char* key, const char* field) {
    if (const auto value = keys.number(key)) scaling[field] = *value;
  };
  copy("rope.scaling.original_context_length", "original_max_position_embeddings");
  copy("rope.scaling.attn_factor", "attention_factor");
  copy("rope.scaling.yarn_beta_fast", "beta_fast");
  copy("rope.scaling.yarn_beta_slow", "beta_slow");
  return scaling;  // the family refuses types that it does not know
}

void check_heads(const Gguf& gguf, const Keys& keys, int64_t head_dim) {
  for (const char* key : {"attention.value_length", "rope.dimension_count"}) {
    const int64_t value = keys.integer(key).value_or(head_dim);
    if (value != head_dim) {
      fail(ErrorCode::kUnsupported, "'{}': {} is {}; supported is the head dimension, {}",
           gguf.file, keys.full(key), value, head_dim);
    }
  }
  if (keys.integer("expert_count").value_or(0) != 0) {
    fail(ErrorCode::kUnsupported, "'{}' is a mixture of experts, which is not supported",
         gguf.file);
  }
}

// What only Gemma's configurations have. `config` holds what all have.
void add_gemma_fields(const std::string& architecture, const Keys& keys, json& config) {
  config.erase("hidden_act");
  config["hidden_activation"] = "gelu_pytorch_tanh";
  const int64_t period = window_period(architecture);
  if (period == 0) return;
  config["query_pre_attn_scalar"] =
      query_scalar(architecture, config["num_hidden_layers"], config["hidden_size"],
                   config["num_attention_heads"], config["head_dim"]);
  const auto copy = [&](const char* key, const char* field) {
    if (const auto value = keys.number(key)) config[field] = *value;
  };
  copy("attn_logit_softcapping", "attn_logit_softcapping");
  copy("final_logit_softcapping", "final_logit_softcapping");
  const int64_t usual = architecture == "gemma2" ? 4096 : 0;  // as in llama.cpp
  const int64_t window = keys.integer("attention.sliding_window").value_or(usual);
  if (window > 0) config["sliding_window"] = window;
  config["sliding_window_pattern"] =
      window > 0 ? keys.integer("attention.sliding_window_pattern").value_or(period) : 1;
  if (architecture != "gemma3") return;
  config["rope_local_base_freq"] = keys.number("rope.freq_base_swa").value_or(10000.0);
}

const Architecture* find_architecture(std::string_view name) {
  const auto* found = std::ranges::find(kArchitectures, name, &Architecture::name);
  return found == kArchitectures.end() ? nullptr : found;
}

}  // namespace

std::string gguf_architecture(const Gguf& gguf) {
  const auto architecture = gguf.text("general.architecture");
  if (!architecture) fail(ErrorCode::kCorrupt, "'{}' has no general.architecture", gguf.file);
  return *architecture;
}

json config_from_gguf(const Gguf& gguf) {
  const std::string architecture = gguf_architecture(gguf);
  const Architecture* known = find_architecture(architecture);
  if (known == nullptr) {
    fail(ErrorCode::kUnsupported,
         "'{}': architecture {} is not supported; supported are llama, qwen2, qwen3, gemma, "
         "gemma2, gemma3",
         gguf.file, quoted_name(architecture));
  }
  const Keys keys(gguf);
  keys.refuse_unknown();
  const int64_t heads = keys.required("attention.head_count");
  const int64_t hidden = keys.required("embedding_length");
  if (heads < 1) fail(ErrorCode::kCorrupt, "'{}': {} heads", gguf.file, heads);
  const int64_t head_dim = keys.integer("attention.key_length").value_or(hidden / heads);
  check_heads(gguf, keys, head_dim);

  json config = {{"model_type", known->model_type},
                 {"vocab_size", embedding_rows(gguf)},
                 {"hidden_size", hidden},
                 {"num_hidden_layers", keys.required("block_count")},
                 {"intermediate_size", keys.required("feed_forward_length")},
                 {"num_attention_heads", heads},
                 {"num_key_value_heads", keys.integer("attention.head_count_kv").value_or(heads)},
                 {"head_dim", head_dim},
                 {"hidden_act", "silu"},
                 {"rope_theta", keys.number("rope.freq_base").value_or(10000.0)},
                 {"tie_word_embeddings", !has_tensor(gguf, "output.weight")}};
  const auto epsilon = keys.number("attention.layer_norm_rms_epsilon");
  if (!epsilon) {
    fail(ErrorCode::kCorrupt, "'{}' has no {}", gguf.file,
         keys.full("attention.layer_norm_rms_epsilon"));
  }
  config["rms_norm_eps"] = *epsilon;
  if (const auto length = keys.integer("context_length")) {
    config["max_position_embeddings"] = *length;
  }
  const auto window = keys.integer("attention.sliding_window");
  if (is_gemma(architecture)) {
    add_gemma_fields(architecture, keys, config);
  } else if (window && *window > 0) {
    config["sliding_window"] = *window;
    if (architecture == "llama") config["model_type"] = "mistral";
  }
  if (const json scaling = rope_scaling(gguf, keys); !scaling.is_null()) {
    config["rope_scaling"] = scaling;
  }
  if (architecture != "qwen2") config["attention_bias"] = has_tensor(gguf, "blk.0.attn_q.bias");
  config["mlp_bias"] = has_tensor(gguf, "blk.0.ffn_up.bias");
  for (const auto& [key, field] : {std::pair("tokenizer.ggml.bos_token_id", "bos_token_id"),
                                   std::pair("tokenizer.ggml.eos_token_id", "eos_token_id")}) {
    if (const auto id = gguf.integer(key)) config[field] = *id;
  }
  return config;
}

namespace {

const json* rope_scaling_of(const json& config) {
  for (const char* field : {"rope_parameters", "rope_scaling"}) {
    const auto found = config.find(field);
    if (found != config.end() && found->is_object()) return &*found;
  }
  return nullptr;
}

double rope_theta_of(const Config& config) {
  const json* scaling = rope_scaling_of(config.json());
  if (scaling != nullptr && scaling->contains("rope_theta")) {
    return Config(*scaling).number("rope_theta");
  }
  return config.number_or("rope_theta", 1e4);
}

std::string rope_type_of(const json& config) {
  const json* scaling = rope_scaling_of(config);
  if (scaling == nullptr) return "default";
  const Config fields(*scaling);
  return fields.text_or("rope_type", fields.text_or("type", "default"));
}

void add_rope_scaling(const json& config, const std::string& prefix, GgufMetadata& metadata) {
  const std::string type = rope_type_of(config);
  if (type != "linear" && type != "yarn") return;  // the others are factors
  const Config scaling(*rope_scaling_of(config));
  const auto put = [&](const char* field, const char* key) {
    if (!scaling.has(field)) return;
    metadata.emplace_back(prefix + "rope.scaling." + key,
                          static_cast<float>(scaling.number(field)));
  };
  metadata.emplace_back(prefix + "rope.scaling.type", type);
  put("factor", "factor");
  put("attention_factor", "attn_factor");
  put("beta_fast", "yarn_beta_fast");
  put("beta_slow", "yarn_beta_slow");
  if (scaling.has("original_max_position_embeddings")) {
    metadata.emplace_back(
        prefix + "rope.scaling.original_context_length",
        static_cast<uint32_t>(scaling.size("original_max_position_embeddings", 1 << 30)));
  }
}

void refuse_windows(const Config& config) {
  if (!config.text("model_type").starts_with("qwen")) return;
  for (int64_t layer = 0; layer < config.size("num_hidden_layers"); ++layer) {
    if (optional_window(config, layer) == 0) continue;
    fail(ErrorCode::kUnsupported,
         "layer {} has a sliding window, which GGUF cannot express for model_type '{}'", layer,
         config.text("model_type"));
  }
}

}  // namespace

int64_t head_dim_of(const json& json_config) {
  const Config config(json_config);
  return config.has("head_dim") ? config.size("head_dim")
                                : config.size("hidden_size") / config.size("num_attention_heads");
}

std::string gguf_architecture(const json& config) {
  const std::string type = Config(config).text("model_type");
  if (type == "mistral") return "llama";
  const auto* found = std::ranges::find(kArchitectures, type, &Architecture::model_type);
  if (found == kArchitectures.end()) {
    fail(ErrorCode::kUnsupported,
         "model_type {} cannot be written as GGUF; llama, mistral, qwen2, qwen3, gemma, gemma2 and "
         "gemma3_text can",
         quoted_name(type));
  }
  return std::string(found->name);
}

namespace {

// The rotary fields of layers without a window are those that files have.
json with_main_rope(const json& config) {
  return config.value("model_type", "") == "gemma3_text" ? rope_config(config, false) : config;
}

// What Gemma's files hold beside the keys of all. The configuration has been read by its family.
void add_gemma_keys(const json& json_config, const std::string& architecture,
                    GgufMetadata& metadata) {
  const Config config(json_config);
  const std::string prefix = architecture + ".";
  const auto refuse = [&](bool refused, std::string_view what) {
    if (!refused) return;
    fail(ErrorCode::kUnsupported, "{}, which GGUF cannot express for model_type '{}'", what,
         config.text("model_type"));
  };
  refuse(!config.flag_or("tie_word_embeddings", true), "its head has a matrix of its own");
  refuse(config.flag_or("attention_bias", false) || config.flag_or("mlp_bias", false),
         "its layers have biases");
  const std::string rope = rope_type_of(with_main_rope(json_config));
  refuse(rope != "default" && rope != "linear", fmt::format("it has the rope type '{}'", rope));
  const int64_t period = window_period(architecture);
  if (period == 0) return;

  const int64_t layers = config.size("num_hidden_layers");
  const int64_t scalar = query_scalar(architecture, layers, config.size("hidden_size"),
                                      config.size("num_attention_heads"), head_dim_of(json_config));
  refuse(config.positive_or("query_pre_attn_scalar", 256) != static_cast<double>(scalar),
         fmt::format("query_pre_attn_scalar is not {}", scalar));
  // The pattern is a number in files: of the family, or the first that fits.
  std::vector<int64_t> windows;
  for (int64_t layer = 0; layer < layers; ++layer) {
    windows.push_back(periodic_window(config, layer, period));
  }
  const auto fits = [&](int64_t n) {
    for (int64_t layer = 0; layer < layers; ++layer) {
      if ((windows[static_cast<size_t>(layer)] > 0) != ((layer + 1) % n != 0)) return false;
    }
    return true;
  };
  int64_t pattern = period;
  if (!fits(pattern)) {
    for (pattern = 1; pattern <= layers + 1 && !fits(pattern);) ++pattern;
  }
  refuse(pattern > layers + 1, "its sliding windows are not on all layers but every n-th");
  if (pattern > 1) {
    metadata.emplace_back(prefix + "attention.sliding_window",
                          static_cast<uint32_t>(config.size("sliding_window")));
  }
  if (pattern != period) {
    metadata.emplace_back(prefix + "attention.sliding_window_pattern",
                          static_cast<uint32_t>(pattern));
  }
  const auto put_cap = [&](const char* field, bool needed, double usual) {
    const double cap = config.json().contains(field) ? config.number_or(field, 0) : usual;
    refuse(needed && cap == 0, fmt::format("it has no {}", field));
    if (cap != 0) metadata.emplace_back(prefix + field, static_cast<float>(cap));
  };
  const bool gemma2 = architecture == "gemma2";
  put_cap("attn_logit_softcapping", gemma2, gemma2 ? 50 : 0);
  put_cap("final_logit_softcapping", gemma2, gemma2 ? 30 : 0);
  if (gemma2) return;
  refuse(config.has("attn_logit_softcapping"), "it has attn_logit_softcapping");
  const json local = rope_config(json_config, true);
  refuse(rope_type_of(local) != "default", "it scales the frequencies of layers with a window");
  metadata.emplace_back(prefix + "rope.freq_base_swa",
                        static_cast<float>(rope_theta_of(Config(local))));
}

}  // namespace

GgufMetadata config_to_gguf(const json& original) {
  const json json_config = with_main_rope(original);
  const Config config(json_config);
  refuse_windows(config);
  const std::string architecture = gguf_architecture(json_config);
  const std::string prefix = architecture + ".";
  GgufMetadata metadata = {{"general.architecture", architecture}};
  const auto put = [&](const char* key, int64_t value) {
    metadata.emplace_back(prefix + key, static_cast<uint32_t>(value));
  };
  const int64_t heads = config.size("num_attention_heads");
  const int64_t head_dim = head_dim_of(json_config);
  // llama.cpp needs a context length; models that state none were trained for 2048 and more.
  put("context_length", config.size_or("max_position_embeddings", 2048));
  put("embedding_length", config.size("hidden_size"));
  put("block_count", config.size("num_hidden_layers"));
  put("feed_forward_length", config.size("intermediate_size"));
  put("attention.head_count", heads);
  put("attention.head_count_kv", config.size_or("num_key_value_heads", heads));
  put("attention.key_length", head_dim);
  put("attention.value_length", head_dim);
  metadata.emplace_back(prefix + "attention.layer_norm_rms_epsilon",
                        static_cast<float>(config.number_or("rms_norm_eps", 1e-6)));
  put("vocab_size", config.size("vocab_size"));
  put("rope.dimension_count", head_dim);
  metadata.emplace_back(prefix + "rope.freq_base", static_cast<float>(rope_theta_of(config)));
  if (config.text("model_type") == "mistral" && config.has("sliding_window")) {
    put("attention.sliding_window", config.size("sliding_window"));
  }
  add_rope_scaling(json_config, prefix, metadata);
  if (is_gemma(architecture)) add_gemma_keys(original, architecture, metadata);
  return metadata;
}

std::vector<float> rope_factors_of(const json& original) {
  const json json_config = with_main_rope(original);
  const std::string type = rope_type_of(json_config);
  if (type != "llama3" && type != "factors") return {};
  const Config config(json_config);
  const int64_t head_dim = head_dim_of(json_config);
  const RopeParameters rope = read_rope(config, head_dim);
  const double theta = rope_theta_of(config);
  std::vector<float> factors;
  for (size_t i = 0; i < rope.frequencies.size(); ++i) {
    const double plain =
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    factors.push_back(static_cast<float>(plain / rope.frequencies[i]));
  }
  return factors;
}

}  // namespace bitsmith
