// Graphs of every family from their configurations, old and new.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/testing.h"
#include "families/families_testing.h"
#include "families/family.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

// Four layers, four heads of 8 channels over two kv heads.
json config_of(const std::string& model_type) {
  json config = {{"model_type", model_type},    {"vocab_size", 50},
                 {"hidden_size", 32},           {"intermediate_size", 40},
                 {"num_hidden_layers", 4},      {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},    {"hidden_act", "silu"},
                 {"rms_norm_eps", 1e-5},        {"rope_theta", 10000.0},
                 {"tie_word_embeddings", false}};
  if (model_type.starts_with("gemma")) config.update(testing::gemma_fields(model_type));
  return config;
}

const char* const kFamilies[] = {"llama", "mistral", "qwen2", "qwen3"};
const char* const kGemmas[] = {"gemma", "gemma2", "gemma3_text"};

std::vector<const Node*> nodes_of(const Graph& graph, std::string_view op) {
  std::vector<const Node*> nodes;
  for (const Node& node : graph.nodes) {
    if (node.op == op) nodes.push_back(&node);
  }
  return nodes;
}

Shape shape_of(const Graph& graph, const std::string& parameter) {
  const ValueId id = graph.find(parameter);
  if (id == kNoValue || graph.value(id).kind != ValueKind::kParameter) return {};
  return graph.value(id).shape;
}

std::vector<int64_t> windows_of(const json& config) {
  const Graph graph = build_graph(config);
  std::vector<int64_t> windows;
  for (const Node* node : nodes_of(graph, "attention")) windows.push_back(node->integer("window"));
  return windows;
}

std::string refusal(ErrorCode code, const json& config) {
  return error_of(code, [&] { build_graph(config); });
}

TEST(Families, AreTheOnesTestedHere) {
  std::vector<std::string> registered;
  for (const Family* family : Registry<Family>::instance().all()) {
    registered.push_back(family->info().id);
  }
  std::vector<std::string> tested(std::begin(kFamilies), std::end(kFamilies));
  tested.insert(tested.end(), std::begin(kGemmas), std::end(kGemmas));
  EXPECT_THAT(registered, ::testing::UnorderedElementsAreArray(tested));
}

TEST(Families, NameTheParametersLikeTheTensorsInTheFiles) {
  for (const std::string family : kFamilies) {
    SCOPED_TRACE(family);
    const Graph graph = build_graph(config_of(family));
    const std::string layer = "model.layers.3.";
    EXPECT_EQ(shape_of(graph, "model.embed_tokens.weight"), (Shape{50, 32}));
    EXPECT_EQ(shape_of(graph, layer + "input_layernorm.weight"), (Shape{32}));
    EXPECT_EQ(shape_of(graph, layer + "self_attn.q_proj.weight"), (Shape{32, 32}));
    EXPECT_EQ(shape_of(graph, layer + "self_attn.k_proj.weight"), (Shape{16, 32}));
    EXPECT_EQ(shape_of(graph, layer + "self_attn.v_proj.weight"), (Shape{16, 32}));
    EXPECT_EQ(shape_of(graph, layer + "self_attn.o_proj.weight"), (Shape{32, 32}));
    EXPECT_EQ(shape_of(graph, layer + "post_attention_layernorm.weight"), (Shape{32}));
    EXPECT_EQ(shape_of(graph, layer + "mlp.gate_proj.weight"), (Shape{40, 32}));
    EXPECT_EQ(shape_of(graph, layer + "mlp.up_proj.weight"), (Shape{40, 32}));
    EXPECT_EQ(shape_of(graph, layer + "mlp.down_proj.weight"), (Shape{32, 40}));
    EXPECT_EQ(shape_of(graph, "model.norm.weight"), (Shape{32}));
    EXPECT_EQ(shape_of(graph, "lm_head.weight"), (Shape{50, 32}));
    const bool bias = family == "qwen2";
    for (const std::string name : {"q", "k", "v"}) {
      EXPECT_EQ(shape_of(graph, layer + "self_attn." + name + "_proj.bias").size(), bias ? 1u : 0u);
    }
    EXPECT_EQ(graph.find(layer + "self_attn.o_proj.bias"), kNoValue);
    EXPECT_EQ(shape_of(graph, layer + "self_attn.q_norm.weight"),
              family == "qwen3" ? Shape{8} : Shape{});
    EXPECT_EQ(shape_of(graph, layer + "self_attn.k_norm.weight"),
              family == "qwen3" ? Shape{8} : Shape{});
    EXPECT_EQ(graph.parameters().size(), (bias ? 12u : family == "qwen3" ? 11u : 9u) * 4 + 3);
    EXPECT_EQ(graph.value(graph.outputs[0]).shape, (Shape{kBatch, kTime, 50}));
    EXPECT_EQ(graph.value(graph.find(layer + "mlp.down_proj.weight")).role, "mlp.down");
    EXPECT_EQ(graph.value(graph.find(layer + "self_attn.q_proj.weight")).role, "attention.q");
    EXPECT_EQ(graph.value(graph.find("lm_head.weight")).role, "head");
  }
}

TEST(Families, HeadsAndTheirDimension) {
  json config = config_of("llama");
  Graph graph = build_graph(config);
  for (const Node* node : nodes_of(graph, "attention")) {
    EXPECT_EQ(node->integer("heads"), 4);
    EXPECT_EQ(node->integer("kv_heads"), 2);
    EXPECT_EQ(node->integer("head_dim"), 8);  // hidden / heads
    EXPECT_DOUBLE_EQ(node->number("scale"), 1 / std::sqrt(8.0));
    EXPECT_EQ(node->integer("window"), 0);
  }
  config["head_dim"] = 12;
  graph = build_graph(config);
  EXPECT_EQ(shape_of(graph, "model.layers.0.self_attn.q_proj.weight"), (Shape{48, 32}));
  EXPECT_EQ(shape_of(graph, "model.layers.0.self_attn.k_proj.weight"), (Shape{24, 32}));
  EXPECT_EQ(shape_of(graph, "model.layers.0.self_attn.o_proj.weight"), (Shape{32, 48}));
  EXPECT_EQ(nodes_of(graph, "attention")[0]->integer("head_dim"), 12);
  config["hidden_size"] = 33;  // no multiple of the heads, which a given head_dim allows
  EXPECT_EQ(nodes_of(build_graph(config), "attention").size(), 4u);

  for (const bool null : {false, true}) {  // as many kv heads as heads
    json all = config_of("llama");
    all.erase("num_key_value_heads");
    if (null) all["num_key_value_heads"] = all["head_dim"] = nullptr;
    EXPECT_EQ(nodes_of(build_graph(all), "attention")[0]->integer("kv_heads"), 4);
  }
}

TEST(Families, TiedHeadsShareTheTable) {
  for (const std::string family : kFamilies) {
    json config = config_of(family);
    config["tie_word_embeddings"] = true;
    const Graph graph = build_graph(config);
    EXPECT_EQ(graph.find("lm_head.weight"), kNoValue);
    EXPECT_EQ(graph.nodes.back().inputs[1], graph.nodes.front().inputs[1]);
    config.erase("tie_word_embeddings");  // not tied, in all of these families
    EXPECT_NE(build_graph(config).find("lm_head.weight"), kNoValue);
  }
}

TEST(Families, BiasesThatTheConfigurationAsksFor) {
  json config = config_of("llama");
  config["attention_bias"] = true;
  config["mlp_bias"] = true;
  const Graph graph = build_graph(config);
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                           "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
    EXPECT_EQ(shape_of(graph, fmt::format("model.layers.0.{}.bias", name)).size(), 1u) << name;
  }
}

TEST(Families, ListsOfEndTokensAndOtherHarmlessFieldsAreTaken) {
  json config = config_of("llama");
  config["eos_token_id"] = {7, 8, 9};
  config["bos_token_id"] = nullptr;
  config["torch_dtype"] = "bfloat16";
  config["transformers_version"] = "4.57.0";
  config["pretraining_tp"] = 1;
  config["quantization_config"] = nullptr;
  config["num_experts"] = nullptr;
  config["use_qk_norm"] = false;
  EXPECT_EQ(build_graph(config).to_json(), build_graph(config_of("llama")).to_json());
}

TEST(SlidingWindows, OfMistralCoverAllLayersOrNone) {
  json config = config_of("mistral");
  EXPECT_THAT(windows_of(config), Each(0));
  config["sliding_window"] = nullptr;
  EXPECT_THAT(windows_of(config), Each(0));
  config["sliding_window"] = 16;
  EXPECT_THAT(windows_of(config), ElementsAre(16, 16, 16, 16));
}

TEST(SlidingWindows, OfQwenNeedToBeSwitchedOn) {
  for (const char* family : {"qwen2", "qwen3"}) {
    json config = config_of(family);
    config["sliding_window"] = 16;
    config["max_window_layers"] = 3;
    EXPECT_THAT(windows_of(config), Each(0));
    config["use_sliding_window"] = false;
    EXPECT_THAT(windows_of(config), Each(0));
    config["use_sliding_window"] = true;
    EXPECT_THAT(windows_of(config), ElementsAre(0, 0, 0, 16));
    config["max_window_layers"] = 0;
    EXPECT_THAT(windows_of(config), ElementsAre(16, 16, 16, 16));
    config["max_window_layers"] = 4;
    EXPECT_THAT(windows_of(config), Each(0));
    // Nothing is guessed.
    config.erase("max_window_layers");
    EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr("'max_window_layers' is missing"));
    config["max_window_layers"] = -1;
    EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr("'max_window_layers' must be"));
    config["max_window_layers"] = 2;
    config.erase("sliding_window");
    EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr("'sliding_window' is missing"));
    config["sliding_window"] = 0;
    EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr("'sliding_window' must be"));
  }
}

TEST(SlidingWindows, OfQwenAreThoseOfLayerTypesWhereTheyAreGiven) {
  const char* full = "full_attention";
  const char* sliding = "sliding_attention";
  for (const char* family : {"qwen2", "qwen3"}) {
    json config = config_of(family);
    config["sliding_window"] = 16;
    config["layer_types"] = {full, sliding, full, sliding};
    EXPECT_THAT(windows_of(config), ElementsAre(0, 16, 0, 16));
    config["use_sliding_window"] = true;
    config["max_window_layers"] = 1;  // layer_types says it already
    EXPECT_THAT(windows_of(config), ElementsAre(0, 16, 0, 16));
    config["use_sliding_window"] = false;
    EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr("'use_sliding_window' is false"));
    config["layer_types"] = {full, full, full, full};
    EXPECT_THAT(windows_of(config), Each(0));
    for (const json& wrong : {json{full, full, full}, json{full, full, full, full, full},
                              json("full_attention"), json::object()}) {
      config["layer_types"] = wrong;
      EXPECT_THAT(refusal(ErrorCode::kCorrupt, config),
                  HasSubstr("'layer_types' must list every layer"));
    }
    for (const json& wrong : {json("chunked_attention"), json(nullptr), json(1)}) {
      config["layer_types"] = {full, full, full, wrong};
      EXPECT_THAT(refusal(ErrorCode::kUnsupported, config),
                  AllOf(HasSubstr("layer 3"), HasSubstr("'layer_types'"), HasSubstr(wrong.dump())));
    }
  }
}

TEST(Families, AMissingFieldIsNamed) {
  for (const std::string family : kFamilies) {
    for (const char* field : {"model_type", "vocab_size", "hidden_size", "intermediate_size",
                              "num_hidden_layers", "num_attention_heads"}) {
      for (const bool null : {false, true}) {
        json config = config_of(family);
        config.erase(field);
        if (null) config[field] = nullptr;
        EXPECT_THAT(refusal(ErrorCode::kCorrupt, config),
                    HasSubstr(fmt::format("'{}' is missing", field)));
      }
    }
  }
}

TEST(Families, AFieldOfAWrongTypeOrAnAbsurdValueIsNamed) {
  const json texts[] = {"eight", json::array(), json::object(), true};
  std::vector<std::pair<const char*, json>> cases;
  for (const char* field :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    for (const json& text : texts) cases.emplace_back(field, text);
    for (const json& number : {json(0), json(-1), json(2.5), json(int64_t{1} << 50),
                               json(~uint64_t{0}), json(uint64_t{1} << 63), json(1e300)}) {
      cases.emplace_back(field, number);
    }
  }
  for (const char* field : {"rope_theta", "rms_norm_eps"}) {
    for (const json& text : texts) cases.emplace_back(field, text);
    cases.emplace_back(field, -1.0);
  }
  cases.emplace_back("rope_theta", 0);
  cases.emplace_back("rope_theta", 1);
  for (const char* field : {"tie_word_embeddings", "attention_bias", "mlp_bias"}) {
    for (const json& value : {json(0), json("true"), json::array()}) {
      cases.emplace_back(field, value);
    }
  }
  for (const json& value : {json(1), json::array(), json(true)}) {
    cases.emplace_back("hidden_act", value);
    cases.emplace_back("model_type", value);
  }
  for (const json& value : {json(1), json::array(), json("linear")}) {
    cases.emplace_back("rope_scaling", value);
    cases.emplace_back("rope_parameters", value);
  }
  for (const std::string family : kFamilies) {
    for (const auto& [field, value] : cases) {
      SCOPED_TRACE(fmt::format("{}: {} = {}", family, field, value.dump()));
      json config = config_of(family);
      config[field] = value;
      EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr(fmt::format("'{}'", field)));
    }
  }
  json mistral = config_of("mistral");
  mistral["sliding_window"] = 0;
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, mistral), HasSubstr("'sliding_window' must be"));
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, json::array()), HasSubstr("must hold an object"));
}

TEST(Families, FieldsThatDoNotFitEachOtherAreRefused) {
  json config = config_of("llama");
  config["hidden_size"] = 34;
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, config),
              HasSubstr("hidden_size 34 is no multiple of num_attention_heads 4"));
  config = config_of("llama");
  config["num_key_value_heads"] = 3;
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, config),
              HasSubstr("num_attention_heads 4 is no multiple of num_key_value_heads 3"));
  config = config_of("llama");
  config["head_dim"] = 7;
  EXPECT_THAT(refusal(ErrorCode::kUnsupported, config), HasSubstr("head dimension of 7 is odd"));
  // Heads whose frequencies alone would fill the memory.
  config = config_of("llama");
  config["hidden_size"] = 1 << 20;
  config["num_attention_heads"] = config["num_key_value_heads"] = 1;
  config["num_hidden_layers"] = 4096;
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr("num_attention_heads 1"));
}

TEST(Families, WhatIsNotUnderstoodIsRefusedByName) {
  json config = config_of("llama");
  config["hidden_act"] = "gelu";
  EXPECT_THAT(refusal(ErrorCode::kUnsupported, config), HasSubstr("hidden_act 'gelu'"));
  config = config_of("gpt2");
  EXPECT_THAT(refusal(ErrorCode::kUnsupported, config),
              AllOf(HasSubstr("'gpt2'"), HasSubstr("llama, mistral, qwen2, qwen3")));
  const std::pair<const char*, json> fields[] = {{"quantization_config", {{"bits", 4}}},
                                                 {"num_experts", 8},
                                                 {"num_local_experts", 8},
                                                 {"final_logit_softcapping", 30.0},
                                                 {"attn_logit_softcapping", 50.0},
                                                 {"query_pre_attn_scalar", 256},
                                                 {"logits_scaling", 8.0},
                                                 {"residual_multiplier", 0.22},
                                                 {"embedding_multiplier", 12},
                                                 {"attention_multiplier", 0.015},
                                                 {"use_bidirectional_attention", true},
                                                 {"partial_rotary_factor", 0.5}};
  for (const std::string family : kFamilies) {
    for (const auto& [field, value] : fields) {
      config = config_of(family);
      config[field] = value;
      EXPECT_THAT(refusal(ErrorCode::kUnsupported, config), HasSubstr(fmt::format("'{}'", field)));
    }
  }
}

const Node* node_named(const Graph& graph, std::string_view name) {
  for (const Node& node : graph.nodes) {
    if (node.name == name) return &node;
  }
  return nullptr;
}

TEST(Gemma, NormsStandWhereTheFamilyHasThem) {
  for (const std::string family : kGemmas) {
    SCOPED_TRACE(family);
    const Graph graph = build_graph(config_of(family));
    const std::string layer = "model.layers.3.";
    const bool behind = family != "gemma";
    EXPECT_EQ(shape_of(graph, layer + "pre_feedforward_layernorm.weight"),
              behind ? Shape{32} : Shape{});
    EXPECT_EQ(shape_of(graph, layer + "post_feedforward_layernorm.weight"),
              behind ? Shape{32} : Shape{});
    EXPECT_EQ(shape_of(graph, layer + "self_attn.q_norm.weight"),
              family == "gemma3_text" ? Shape{24} : Shape{});
    EXPECT_EQ(shape_of(graph, layer + "self_attn.q_proj.weight"), (Shape{96, 32}));
    EXPECT_EQ(shape_of(graph, layer + "self_attn.o_proj.weight"), (Shape{32, 96}));
    EXPECT_EQ(graph.find("lm_head.weight"), kNoValue);
    // Which sum reads what: the layer, or the norm behind it.
    const Node* sum = node_named(graph, "layers.3.mlp.add");
    EXPECT_EQ(graph.value(sum->inputs[1]).name,
              behind ? "layers.3.mlp.post_norm" : "layers.3.mlp.down");
    EXPECT_EQ(nodes_of(graph, "gelu_tanh").size(), 4U);
    EXPECT_EQ(family_of(config_of(family)).norm_offset(), 1.0F);
  }
  EXPECT_EQ(family_of(config_of("llama")).norm_offset(), 0.0F);
}

TEST(Gemma, TheTableIsScaledInTheTypeOfTheWeights) {
  json config = config_of("gemma");
  config["hidden_size"] = 3072;
  const auto factor = [&] {
    return node_named(build_graph(config), "embedding.scale")->number("factor");
  };
  EXPECT_FLOAT_EQ(static_cast<float>(factor()), std::sqrt(3072.0F));
  config["torch_dtype"] = "bfloat16";
  EXPECT_EQ(factor(), 55.5);  // of 55.4256
  config["torch_dtype"] = "float16";
  EXPECT_EQ(factor(), 55.4375);
  config["dtype"] = "bfloat16";  // transformers 5
  EXPECT_EQ(factor(), 55.5);
}

TEST(Gemma, CapsAreThoseOfTheConfigurationOrTheFamily) {
  json config = config_of("gemma2");
  const auto caps = [&] {
    const Graph graph = build_graph(config);
    const Node* logits = node_named(graph, "head.soft_cap");
    const auto& attributes = nodes_of(graph, "attention")[0]->attributes;
    return std::pair(
        attributes.contains("soft_cap") ? std::get<double>(attributes.at("soft_cap")) : 0,
        logits == nullptr ? 0 : logits->number("cap"));
  };
  EXPECT_EQ(caps(), std::pair(1.5, 2.0));
  config.erase("attn_logit_softcapping");
  config["final_logit_softcapping"] = nullptr;
  EXPECT_EQ(caps(), std::pair(50.0, 0.0));
  config = config_of("gemma3_text");
  EXPECT_EQ(caps(), std::pair(0.0, 0.0));
  config["final_logit_softcapping"] = 30;
  EXPECT_EQ(caps(), std::pair(0.0, 30.0));
  config["final_logit_softcapping"] = -1;
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr("'final_logit_softcapping'"));
}

TEST(Gemma, WindowsAreOnAllLayersButEveryNth) {
  json config = config_of("gemma2");
  config.erase("sliding_window_pattern");
  EXPECT_THAT(windows_of(config), ElementsAre(5, 0, 5, 0));
  config["_sliding_window_pattern"] = 3;
  EXPECT_THAT(windows_of(config), ElementsAre(5, 5, 0, 5));
  config["layer_types"] = {"full_attention", "full_attention", "full_attention",
                           "sliding_attention"};
  EXPECT_THAT(windows_of(config), ElementsAre(0, 0, 0, 5));
  config = config_of("gemma3_text");
  config.erase("sliding_window_pattern");
  config["num_hidden_layers"] = 7;
  EXPECT_THAT(windows_of(config), ElementsAre(5, 5, 5, 5, 5, 0, 5));
  config.erase("sliding_window");
  EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr("'sliding_window' is missing"));
}

TEST(Gemma, LayersWithAWindowRotateByTheirOwnFrequencies) {
  json config = config_of("gemma3_text");
  // The second frequency of 12: theta^(-2/24).
  const auto second = [&](int layer) {
    const Graph graph = build_graph(config);
    return node_named(graph, fmt::format("layers.{}.attention.q_rope", layer))
        ->numbers("frequencies")[1];
  };
  EXPECT_NEAR(second(0), std::pow(100.0, -1.0 / 12), 1e-12);
  EXPECT_NEAR(second(1), std::pow(1e6, -1.0 / 12) / 8, 1e-12);
  config.erase("rope_local_base_freq");
  EXPECT_NEAR(second(0), std::pow(1e4, -1.0 / 12), 1e-12);
  // As transformers 5 writes it.
  for (const char* field : {"rope_theta", "rope_scaling"}) config.erase(field);
  config["rope_parameters"] = {
      {"full_attention", {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 2e6}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 3e4}}}};
  EXPECT_NEAR(second(0), std::pow(3e4, -1.0 / 12), 1e-12);
  EXPECT_NEAR(second(1), std::pow(2e6, -1.0 / 12) / 4, 1e-12);
}

TEST(Gemma, ScoresAreDividedByTheRootOfTheirOwnScalar) {
  json config = config_of("gemma2");
  const auto scale = [&] { return nodes_of(build_graph(config), "attention")[0]->number("scale"); };
  EXPECT_EQ(scale(), 1 / std::sqrt(20.0));
  config.erase("query_pre_attn_scalar");
  EXPECT_EQ(scale(), 1.0 / 16);
  config = config_of("gemma");
  EXPECT_EQ(scale(), 1 / std::sqrt(24.0));
}

TEST(Gemma, WhatIsNotUnderstoodIsRefusedByName) {
  for (const std::string family : kGemmas) {
    json config = config_of(family);
    config.erase("head_dim");
    EXPECT_THAT(refusal(ErrorCode::kCorrupt, config), HasSubstr("'head_dim' is missing"));
    config = config_of(family);
    config["hidden_activation"] = "relu";
    EXPECT_THAT(refusal(ErrorCode::kUnsupported, config), HasSubstr("activation 'relu'"));
    config.erase("hidden_activation");
    config["hidden_act"] = "silu";
    EXPECT_THAT(refusal(ErrorCode::kUnsupported, config), HasSubstr("activation 'silu'"));
    config["hidden_act"] = "gelu";  // Gemma's first configurations
    build_graph(config);
    config["use_bidirectional_attention"] = true;
    EXPECT_THAT(refusal(ErrorCode::kUnsupported, config), HasSubstr("use_bidirectional_attention"));
  }
  json config = config_of("gemma");
  config["final_logit_softcapping"] = 30;
  EXPECT_THAT(refusal(ErrorCode::kUnsupported, config), HasSubstr("'final_logit_softcapping'"));
}

}  // namespace
}  // namespace bitsmith
