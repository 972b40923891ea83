// Models written as GGUF and read back.
#include "formats/gguf_export.h"

#include <set>

#include "codecs/codec_testing.h"
#include "families/families_testing.h"
#include "families/family.h"
#include "families/rope.h"
#include "formats/formats_test_support.h"
#include "formats/gguf.h"
#include "formats/gguf_config.h"
#include "formats/random_folder_testing.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A model of random weights in float32; owns them.
struct RandomModel {
  Model model;
  std::vector<std::vector<float>> weights;

  explicit RandomModel(const json& config) {
    model.path = "random";
    model.config = config;
    model.graph = build_graph(config);
    for (const ValueId id : model.graph.parameters()) {
      const Value& value = model.graph.value(id);
      weights.push_back(normal_values(value.shape, weights.size() + 1));
      model.parameters[value.name] = {value.name, value.shape, Scheme("f32", json::object()),
                                      std::as_bytes(std::span(weights.back()))};
    }
  }
};

json config_of(const std::string& family) {
  return {{"model_type", family},     {"vocab_size", 7},        {"hidden_size", 64},
          {"intermediate_size", 96},  {"num_hidden_layers", 2}, {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"hidden_act", "silu"},   {"max_position_embeddings", 16},
          {"rms_norm_eps", 1e-05},    {"rope_theta", 5e5},      {"tie_word_embeddings", false}};
}

// Files know no other scale of scores.
json gemma_config(const std::string& family) {
  json config = config_of(family);
  config.update(testing::gemma_fields(family));
  if (family != "gemma") config["query_pre_attn_scalar"] = 24;
  return config;
}

GgufExport nearest(const std::string& codec) {
  GgufExport options;
  options.codec = codec;
  options.encode = [](const CodedTensor& tensor, const Scheme& scheme) {
    ThreadPool pool(1);
    return testing::encode(scheme, tensor.matrix(), tensor.decode_all(), pool).bytes;
  };
  return options;
}

void expect_comes_back(const json& config) {
  SCOPED_TRACE(config.dump());
  const TemporaryFolder folder;
  const RandomModel original(config);
  export_gguf(folder / "m.gguf", original.model, nearest(""));
  const Model again = open_model(folder / "m.gguf");
  EXPECT_TRUE(again.unused_tensors.empty());
  ASSERT_EQ(again.parameters.size(), original.model.parameters.size());
  for (const auto& [name, tensor] : original.model.parameters) {
    EXPECT_EQ(again.parameter(name).decode_all(), tensor.decode_all()) << name;
  }
  // The same graph but for rotary frequencies, whose factors are in float32.
  const int64_t head_dim = head_dim_of(config);
  const auto expected = read_rope(Config(config), head_dim);
  const auto rope = read_rope(Config(again.config), head_dim);
  EXPECT_NEAR(rope.magnitude, expected.magnitude, 1e-6);
  for (size_t i = 0; i < expected.frequencies.size(); ++i) {
    EXPECT_NEAR(rope.frequencies[i] / expected.frequencies[i], 1.0, 1e-6);
  }
  json without = config;
  json again_without = again.config;
  for (json* c : {&without, &again_without}) {
    c->erase("rope_scaling");
    c->erase("rope_parameters");
    (*c)["rope_theta"] = 1e4;
  }
  EXPECT_EQ(build_graph(again_without).to_json(), build_graph(without).to_json());
}

TEST(GgufExport, EveryFamilyComesBack) {
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) {
    json config = config_of(family);
    expect_comes_back(config);
    config["head_dim"] = 32;
    config["tie_word_embeddings"] = true;
    expect_comes_back(config);
  }
  json config = config_of("llama");
  config["attention_bias"] = true;
  config["mlp_bias"] = true;
  expect_comes_back(config);
  config = config_of("mistral");
  config["sliding_window"] = 8;
  expect_comes_back(config);
}

TEST(GgufExport, GemmasComeBack) {
  for (const std::string family : {"gemma", "gemma2", "gemma3_text"}) {
    json config = gemma_config(family);
    expect_comes_back(config);
    config.erase("sliding_window_pattern");
    config["num_hidden_layers"] = 7;
    expect_comes_back(config);
    if (family == "gemma") continue;
    config["sliding_window_pattern"] = 1;  // no window
    expect_comes_back(config);
    config.erase("sliding_window_pattern");
    config["layer_types"] = std::vector<std::string>(7, "sliding_attention");
    config["layer_types"][3] = "full_attention";
    expect_comes_back(config);
  }
  json config = gemma_config("gemma3_text");
  config["final_logit_softcapping"] = 30;
  expect_comes_back(config);
  // The largest models have another scale of scores, which llama.cpp knows by their layers.
  config = gemma_config("gemma2");
  config["num_hidden_layers"] = 46;
  config["query_pre_attn_scalar"] = 16;
  expect_comes_back(config);
}

TEST(GgufExport, GemmasNormsAndNamesAreThoseOfLlamaCpp) {
  const TemporaryFolder folder;
  testing::write_random_folder(folder / "m", gemma_config("gemma3_text"));
  const Model model = open_model(folder / "m");
  export_gguf(folder / "m.gguf", model, nearest(""));
  const GgufFiles files = open_gguf_files(folder / "m.gguf");
  std::set<std::string> names;
  for (const auto& [name, tensor] : files.gguf.tensors) {
    if (name.starts_with("blk.1.")) names.insert(name.substr(6));
  }
  EXPECT_THAT(names, ::testing::ElementsAre(
                         "attn_k.weight", "attn_k_norm.weight", "attn_norm.weight",
                         "attn_output.weight", "attn_q.weight", "attn_q_norm.weight",
                         "attn_v.weight", "ffn_down.weight", "ffn_gate.weight", "ffn_norm.weight",
                         "ffn_up.weight", "post_attention_norm.weight", "post_ffw_norm.weight"));
  // 1 + w, in float32, of the w that the folder holds in bf16.
  const auto mapped = MappedFile(folder / "m/model.safetensors");
  const Safetensors stored = read_safetensors(mapped.bytes(), "m");
  const auto numbers = [&](const std::string& name) {
    const SafetensorsTensor& t = stored.tensors.at("model.layers.1." + name + ".weight");
    std::vector<float> values;
    for (size_t at = 0; at < t.bytes.size(); at += 2) {
      uint16_t bits;
      std::memcpy(&bits, t.bytes.data() + at, 2);
      values.push_back(bf16_to_float(bits));
    }
    return values;
  };
  for (const auto& [ours, theirs] :
       {std::pair("input_layernorm", "attn_norm"), std::pair("self_attn.q_norm", "attn_q_norm"),
        std::pair("post_attention_layernorm", "post_attention_norm"),
        std::pair("pre_feedforward_layernorm", "ffn_norm"),
        std::pair("post_feedforward_layernorm", "post_ffw_norm")}) {
    std::vector<float> expected = numbers(ours);
    for (float& w : expected) w += 1.0F;
    const GgufTensor& t = files.gguf.tensors.at(fmt::format("blk.1.{}.weight", theirs));
    EXPECT_EQ(t.type->name, "F32");
    ASSERT_EQ(t.bytes.size(), 4 * expected.size());
    EXPECT_EQ(std::memcmp(t.bytes.data(), expected.data(), t.bytes.size()), 0) << ours;
  }
  // q and k are not permuted.
  const GgufTensor& q = files.gguf.tensors.at("blk.1.attn_q.weight");
  const SafetensorsTensor& w = stored.tensors.at("model.layers.1.self_attn.q_proj.weight");
  EXPECT_TRUE(std::ranges::equal(q.bytes, w.bytes));
  EXPECT_EQ(files.gguf.number("gemma3.rope.freq_base"), 1e6);
  EXPECT_EQ(files.gguf.number("gemma3.rope.freq_base_swa"), 100.0);
  EXPECT_EQ(files.gguf.number("gemma3.rope.scaling.factor"), 8.0);
  EXPECT_EQ(files.gguf.integer("gemma3.attention.sliding_window"), 5);
  EXPECT_EQ(files.gguf.integer("gemma3.attention.key_length"), 24);
}

TEST(GgufExport, RefusesGemmasThatLlamaCppCannotRun) {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::string& family, const json& changes) {
    json config = gemma_config(family);
    config.update(changes);
    const RandomModel model(config);
    return error_of(ErrorCode::kUnsupported,
                    [&] { export_gguf(folder / "m", model.model, nearest("")); });
  };
  EXPECT_THAT(refusal("gemma2", {{"query_pre_attn_scalar", 20}}),
              HasSubstr("query_pre_attn_scalar is not 24"));
  EXPECT_THAT(refusal("gemma2", {{"attn_logit_softcapping", nullptr}}),
              HasSubstr("no attn_logit_softcapping"));
  EXPECT_THAT(refusal("gemma3_text", {{"attn_logit_softcapping", 50}}),
              HasSubstr("has attn_logit_softcapping"));
  EXPECT_THAT(refusal("gemma", {{"tie_word_embeddings", false}}), HasSubstr("of its own"));
  EXPECT_THAT(refusal("gemma", {{"attention_bias", true}}), HasSubstr("biases"));
  json types = std::vector<std::string>(5, "sliding_attention");
  types[1] = types[2] = "full_attention";
  EXPECT_THAT(refusal("gemma3_text", {{"num_hidden_layers", 5}, {"layer_types", types}}),
              HasSubstr("not on all layers but every n-th"));
}

// Spaces of user-defined tokens are visible in tokenizer.model and not in GGUF.
TEST(GgufExport, GemmasTokensComeBack) {
  const TemporaryFolder folder;
  json config = gemma_config("gemma");
  config["vocab_size"] = testing::write_gemma_tokenizer(folder / "m");
  testing::write_random_folder(folder / "m", config);
  const Model original = open_model(folder / "m");
  export_gguf(folder / "m.gguf", original, nearest(""));
  const GgufFiles files = open_gguf_files(folder / "m.gguf");
  const GgufArray* tokens = files.gguf.array("tokenizer.ggml.tokens");
  EXPECT_EQ(tokens->strings[tokens->count - 3], "  ");
  EXPECT_EQ(files.gguf.flag("tokenizer.ggml.add_space_prefix"), false);
  EXPECT_EQ(files.gguf.flag("tokenizer.ggml.add_bos_token"), true);
  const auto before = make_tokenizer(original.tokenizer_files);
  const auto after = make_tokenizer(open_model(folder / "m.gguf").tokenizer_files);
  for (const std::string text : {"", " ", "Once upon a time,  there was", "a     b\n\n\nc",
                                 "Fran\u00e7ois \u2014 42 \u03b1\t\x01<start_of_turn>x"}) {
    EXPECT_EQ(after->encode(text, true), before->encode(text, true)) << text;
    EXPECT_EQ(after->decode(after->encode(text, false)), text);
  }
}

TEST(GgufExport, ScaledRotationsComeBack) {
  json config = config_of("llama");
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  expect_comes_back(config);
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 64}};
  expect_comes_back(config);
  config["rope_scaling"] = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
  expect_comes_back(config);
  config.erase("rope_scaling");
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e6}};
  expect_comes_back(config);
}

TEST(GgufExport, MatricesGetTheTypeThatFits) {
  const TemporaryFolder folder;
  const RandomModel original(config_of("llama"));
  const GgufReport report = export_gguf(folder / "m.gguf", original.model, nearest("q6_k"));
  EXPECT_EQ(report.fallbacks.size(), 16U);  // rows of 64 and 96
  EXPECT_EQ(report.fallbacks.front().codec, "q8_0");
  const Model again = open_model(folder / "m.gguf");
  for (const auto& [name, tensor] : again.parameters) {
    EXPECT_EQ(tensor.scheme.codec->info().id, tensor.shape.size() == 1 ? "f32" : "q8_0") << name;
    const auto expected = original.model.parameter(name).decode_all();
    EXPECT_LT(testing::relative_mse(expected, tensor.decode_all()), 1e-4) << name;
  }
  // What is in a type of GGUF already stays as it is, rows of q and k in their order.
  export_gguf(folder / "n.gguf", again, nearest(""));
  const Model third = open_model(folder / "n.gguf");
  for (const auto& [name, tensor] : again.parameters) {
    EXPECT_TRUE(std::ranges::equal(third.parameter(name).bytes, tensor.bytes)) << name;
  }
}

TEST(GgufExport, ScaleOfATensorLiesBesideIt) {
  const TemporaryFolder folder;
  const RandomModel original(config_of("llama"));
  GgufExport options = nearest("nvfp4_ggml");
  export_gguf(folder / "m.gguf", original.model, options);
  const GgufFiles files = open_gguf_files(folder / "m.gguf");
  EXPECT_TRUE(files.gguf.tensors.contains("blk.0.attn_q.scale"));
  const Model again = open_model(folder / "m.gguf");
  const CodedTensor& q = again.parameter("model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(q.scheme.label(), "NVFP4");
  EXPECT_EQ(q.scheme.options.number("tensor_scale"), 0x1p-10);
  EXPECT_TRUE(again.unused_tensors.empty());
}

TEST(GgufExport, RefusesWhatGgufCannotExpress) {
  const TemporaryFolder folder;
  json config = config_of("qwen2");
  config["use_sliding_window"] = true;
  config["max_window_layers"] = 1;
  config["sliding_window"] = 8;
  const RandomModel windows(config);
  EXPECT_THAT(error_of(ErrorCode::kUnsupported,
                       [&] { export_gguf(folder / "m", windows.model, nearest("")); }),
              HasSubstr("layer 1 has a sliding window"));
  RandomModel changed(config_of("llama"));
  changed.model.config["rms_norm_eps"] = 1e-3;
  EXPECT_THAT(error_of(ErrorCode::kUnsupported,
                       [&] { export_gguf(folder / "m", changed.model, nearest("")); }),
              HasSubstr("a transformed model"));
  const RandomModel plain(config_of("llama"));
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument,
                       [&] { export_gguf(folder / "m", plain.model, nearest("int")); }),
              HasSubstr("GGUF has no type for the codec 'int'"));
  EXPECT_FALSE(std::filesystem::exists(folder / "m"));
}

// Tokens of texts, before and after a tokenizer went through GGUF.
void expect_same_tokens(const std::filesystem::path& folder) {
  if (folder.empty()) GTEST_SKIP() << "no shared data";
  const Model original = open_model(folder);
  const TemporaryFolder out;
  export_gguf(out / "m.gguf", original, nearest(""));
  const auto before = make_tokenizer(original.tokenizer_files);
  const auto after = make_tokenizer(open_model(out / "m.gguf").tokenizer_files);
  EXPECT_EQ(after->bos(), before->bos());
  EXPECT_EQ(after->eos(), before->eos());
  for (const std::string text : {"", " ", "Once upon a time,  there was", "\"No!\"\n\nHe said",
                                 "Fran\u00e7ois \u2014 42 \u03b1\t\x01"}) {
    EXPECT_EQ(after->encode(text, true), before->encode(text, true)) << text;
  }
}

TEST(GgufExport, SentencePieceTokensComeBack) {
  expect_same_tokens(shared_data("llm/classics-7m"));
}

TEST(GgufExport, TokenizerJsonTokensComeBack) {
  expect_same_tokens(shared_data("llm/tinystories-656k"));
}

}  // namespace
}  // namespace bitsmith
