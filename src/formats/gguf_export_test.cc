// Models written as GGUF and read back.
#include "formats/gguf_export.h"

#include "codecs/codec_testing.h"
#include "families/family.h"
#include "families/rope.h"
#include "formats/formats_test_support.h"
#include "formats/gguf.h"
#include "formats/gguf_config.h"

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
