#include "formats/huggingface.h"

#include "formats/formats_test_support.h"
#include "formats/huggingface_export.h"
#include "formats/random_folder_testing.h"
#include "formats/safetensors.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Tensor {
  std::string name;
  DType dtype;
  Shape shape;
};

void write_shard(const std::filesystem::path& path, const std::vector<Tensor>& tensors,
                 const std::map<std::string, std::string>& metadata = {{"format", "pt"}}) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Tensor& t : tensors) entries.push_back({t.name, t.dtype, t.shape});
  SafetensorsWriter writer(path, entries, metadata);
  for (const auto& entry : entries) {
    writer.append(entry.name, std::vector<std::byte>(entry.size_bytes()));
  }
  writer.commit();
}

json small_config() {
  return {{"model_type", "llama"},
          {"vocab_size", 7},
          {"hidden_size", 4},
          {"intermediate_size", 6},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"hidden_act", "silu"},
          {"max_position_embeddings", 16},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", false},
          {"architectures", {"LlamaForCausalLM"}}};
}

std::vector<Tensor> small_tensors(DType dtype = DType::kBF16) {
  const std::string layer = "model.layers.0.";
  return {{"model.embed_tokens.weight", dtype, {7, 4}},
          {layer + "input_layernorm.weight", dtype, {4}},
          {layer + "self_attn.q_proj.weight", dtype, {4, 4}},
          {layer + "self_attn.k_proj.weight", dtype, {2, 4}},
          {layer + "self_attn.v_proj.weight", dtype, {2, 4}},
          {layer + "self_attn.o_proj.weight", dtype, {4, 4}},
          {layer + "post_attention_layernorm.weight", dtype, {4}},
          {layer + "mlp.gate_proj.weight", dtype, {6, 4}},
          {layer + "mlp.up_proj.weight", dtype, {6, 4}},
          {layer + "mlp.down_proj.weight", dtype, {4, 6}},
          {"model.norm.weight", dtype, {4}},
          {"lm_head.weight", dtype, {7, 4}}};
}

class HuggingFace : public ::testing::Test {
 protected:
  void config(const json& content) { write_bytes(folder / "config.json", content.dump()); }
  void index(const json& weight_map) {
    const json content = {{"metadata", {{"total_size", 1}}}, {"weight_map", weight_map}};
    write_bytes(folder / "model.safetensors.index.json", content.dump());
  }
  std::string refusal(ErrorCode code) {
    return error_of(code, [&] { open_huggingface(folder.path()); });
  }

  TemporaryFolder folder;
  std::vector<Tensor> tensors = small_tensors();
};

TEST_F(HuggingFace, OpensAFolderWithOneFile) {
  config(small_config());
  tensors[1].dtype = DType::kF32;
  tensors[2].dtype = DType::kF16;
  tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", DType::kF32, {1}});
  tensors.push_back({"extra.counter", DType::kI64, {}});
  write_shard(folder / "model.safetensors", tensors);
  write_bytes(folder / "tokenizer_config.json", "{}");
  const Model model = open_huggingface(folder.path());
  EXPECT_EQ(model.format, "huggingface");
  EXPECT_EQ(model.config, small_config());
  EXPECT_EQ(model.parameters.size(), 12u);
  EXPECT_EQ(model.parameter("model.norm.weight").scheme.codec->info().id, "bf16");
  EXPECT_EQ(model.parameter(tensors[1].name).scheme.codec->info().id, "f32");
  EXPECT_EQ(model.parameter(tensors[2].name).scheme.codec->info().id, "f16");
  EXPECT_EQ(model.parameter("lm_head.weight").shape, (Shape{7, 4}));
  EXPECT_THAT(model.unused_tensors, ElementsAre("extra.counter"));
  EXPECT_EQ(model.tokenizer_files.count("tokenizer_config.json"), 1u);
  EXPECT_EQ(model.files.size(), 1u);
}

TEST_F(HuggingFace, OpensShards) {
  config(small_config());
  const std::vector<Tensor> first(tensors.begin(), tensors.begin() + 5);
  const std::vector<Tensor> second(tensors.begin() + 5, tensors.end());
  write_shard(folder / "model-00001-of-00002.safetensors", first);
  write_shard(folder / "model-00002-of-00002.safetensors", second);
  json map;
  for (const Tensor& t : first) map[t.name] = "model-00001-of-00002.safetensors";
  for (const Tensor& t : second) map[t.name] = "model-00002-of-00002.safetensors";
  index(map);
  const Model model = open_huggingface(folder.path());
  EXPECT_EQ(model.parameters.size(), 12u);
  EXPECT_EQ(model.files.size(), 2u);
  EXPECT_TRUE(model.unused_tensors.empty());
}

TEST_F(HuggingFace, RefusesIndexesThatPointAstray) {
  config(small_config());
  const std::string name = "model.norm.weight";
  for (const json& file : {json("../a.safetensors"), json("/etc/passwd"), json(".."), json(""),
                           json("a\\b"), json(std::string("a\0b", 3)), json(3), json(nullptr)}) {
    index({{name, file}});
    EXPECT_THAT(refusal(ErrorCode::kCorrupt), HasSubstr("should name a file in the same folder"));
  }
  index({{name, "a.safetensors"}});
  EXPECT_THAT(refusal(ErrorCode::kNotFound), HasSubstr("names the shard 'a.safetensors'"));
  write_shard(folder / "a.safetensors", {{"other", DType::kF32, {1}}});
  EXPECT_THAT(refusal(ErrorCode::kCorrupt),
              HasSubstr("says that tensor 'model.norm.weight' is in"));
  write_shard(folder / "b.safetensors", {{name, DType::kF32, {1}}});
  index({{name, "a.safetensors"}, {"z", "b.safetensors"}});
  EXPECT_THAT(refusal(ErrorCode::kCorrupt), HasSubstr("but it is not"));
  write_shard(folder / "a.safetensors", {{name, DType::kF32, {1}}});
  EXPECT_THAT(refusal(ErrorCode::kCorrupt), HasSubstr("is in two files"));
  for (const char* text : {"[]", "{}", "{\"weight_map\":[]}"}) {
    write_bytes(folder / "model.safetensors.index.json", text);
    refusal(ErrorCode::kCorrupt);
  }
}

TEST_F(HuggingFace, FindsTiedWeights) {
  json tied = small_config();
  tied["tie_word_embeddings"] = true;
  const std::vector<Tensor> no_head(tensors.begin(), tensors.end() - 1);
  const std::vector<Tensor> no_embedding(tensors.begin() + 1, tensors.end());

  config(tied);
  write_shard(folder / "model.safetensors", tensors);
  Model model = open_huggingface(folder.path());
  EXPECT_EQ(model.parameters.size(), 11u);
  EXPECT_TRUE(model.unused_tensors.empty());

  write_shard(folder / "model.safetensors", no_head);
  EXPECT_EQ(open_huggingface(folder.path()).parameters.size(), 11u);

  write_shard(folder / "model.safetensors", no_embedding);
  model = open_huggingface(folder.path());
  EXPECT_EQ(model.parameter("model.embed_tokens.weight").shape, (Shape{7, 4}));
  EXPECT_TRUE(model.unused_tensors.empty());

  write_shard(folder / "model.safetensors", no_embedding,
              {{"format", "pt"}, {"model.embed_tokens.weight", "lm_head.weight"}});
  EXPECT_EQ(open_huggingface(folder.path()).parameters.size(), 11u);

  json silent = small_config();
  silent.erase("tie_word_embeddings");
  config(silent);
  for (const auto& one : {no_head, no_embedding}) {
    write_shard(folder / "model.safetensors", one);
    model = open_huggingface(folder.path());
    EXPECT_EQ(model.parameters.size(), 11u);
    EXPECT_EQ(model.config["tie_word_embeddings"], true);
  }
  write_shard(folder / "model.safetensors", tensors);
  EXPECT_EQ(open_huggingface(folder.path()).parameters.size(), 12u);
}

TEST_F(HuggingFace, AnUntiedModelNeedsBothTables) {
  config(small_config());
  for (const char* name : {"lm_head.weight", "model.embed_tokens.weight"}) {
    std::vector<Tensor> rest = tensors;
    std::erase_if(rest, [&](const Tensor& t) { return t.name == name; });
    write_shard(folder / "model.safetensors", rest);
    const std::string message = refusal(ErrorCode::kNotFound);
    EXPECT_THAT(message, HasSubstr(name));
    EXPECT_THAT(message, HasSubstr("\"tie_word_embeddings\": false"));
  }
  // Unless a file says that one was kept in the other's place.
  write_shard(folder / "model.safetensors", {tensors.begin() + 1, tensors.end()},
              {{"format", "pt"}, {"model.embed_tokens.weight", "lm_head.weight"}});
  EXPECT_EQ(open_huggingface(folder.path()).parameters.size(), 12u);
}

TEST_F(HuggingFace, RefusesWeightsOfLayersThatTheConfigurationLacks) {
  config(small_config());
  for (const char* name : {"model.layers.01.extra.weight", "model.layers.1.extra.weight",
                           "model.layers.18446744073709551615.x"}) {
    std::vector<Tensor> more = tensors;
    more.push_back({name, DType::kF32, {1}});
    write_shard(folder / "model.safetensors", more);
    const std::string message = refusal(ErrorCode::kCorrupt);
    EXPECT_THAT(message, HasSubstr(name));
    EXPECT_THAT(message, HasSubstr("\"num_hidden_layers\": 1,"));
  }
  for (const char* name : {"model.layers.0.extra.weight", "model.layers.x.weight", "model.layers.1",
                           "layers.1.x", "model.layers.1.self_attn.rotary_emb.inv_freq"}) {
    std::vector<Tensor> more = tensors;
    more.push_back({name, DType::kF32, {1}});
    write_shard(folder / "model.safetensors", more);
    EXPECT_EQ(open_huggingface(folder.path()).parameters.size(), 12u) << name;
  }
}

TEST_F(HuggingFace, AddsTheEndTokensOfTheGenerationConfig) {
  write_shard(folder / "model.safetensors", tensors);
  const auto end_tokens = [&](const json& own, const json& generation) {
    json all = small_config();
    if (!own.is_null()) all["eos_token_id"] = own;
    config(all);
    write_bytes(folder / "generation_config.json", generation.dump());
    return open_huggingface(folder.path()).config.value("eos_token_id", json());
  };
  EXPECT_EQ(end_tokens(2, {{"eos_token_id", 2}}), 2);
  EXPECT_EQ(end_tokens(2, {{"eos_token_id", 5}}), (json{2, 5}));
  EXPECT_EQ(end_tokens(2, {{"eos_token_id", {5, 2, 6}}}), (json{2, 5, 6}));
  EXPECT_EQ(end_tokens({2, 3}, {{"eos_token_id", 3}}), (json{2, 3}));
  EXPECT_EQ(end_tokens(json(), {{"eos_token_id", 4}}), 4);
  EXPECT_EQ(end_tokens(2, json::object()), 2);
  EXPECT_EQ(end_tokens(2, {{"eos_token_id", nullptr}}), 2);
  EXPECT_EQ(end_tokens(json(), json::object()), json());
  config(small_config());
  for (const char* wrong :
       {"\"2\"", "2.5", "-1", "4294967296", "[2, null]", "[[2]]", "{}", "true"}) {
    write_bytes(folder / "generation_config.json", fmt::format("{{\"eos_token_id\": {}}}", wrong));
    EXPECT_THAT(refusal(ErrorCode::kCorrupt),
                HasSubstr("generation_config.json': 'eos_token_id' should be a token"))
        << wrong;
  }
  write_bytes(folder / "generation_config.json",
              json{{"eos_token_id", std::vector<int>(2000, 1)}}.dump());
  EXPECT_THAT(refusal(ErrorCode::kCorrupt), HasSubstr("2000 end tokens"));
  for (const char* wrong : {"", "[]", "{", "{\"eos_token_id\": 1e999}"}) {
    write_bytes(folder / "generation_config.json", wrong);
    EXPECT_THAT(refusal(ErrorCode::kCorrupt), HasSubstr("generation_config.json'")) << wrong;
  }
}

// Files of Gemma hold gains minus 1, in the type of the matrices.
TEST(HuggingFaceGemma, NormsAreGainsAndGoBackAsTheyWere) {
  const TemporaryFolder out;
  json gemma = small_config();
  gemma.update(
      {{"model_type", "gemma"}, {"hidden_size", 64}, {"head_dim", 16}, {"hidden_act", "gelu"}});
  gemma.erase("tie_word_embeddings");
  // Also where 1 + w has no bits left for all of w, and where the sign changes.
  testing::write_random_folder(
      out / "m", gemma, [](const std::string& name, std::vector<float>& w) {
        if (!name.ends_with("norm.weight")) return;
        w[0] = -0.7F, w[1] = -1.0F, w[2] = -3.5F, w[3] = 1.25e-5F, w[4] = 300;
      });
  const Model model = open_huggingface(out / "m");
  EXPECT_TRUE(model.unused_tensors.empty());
  EXPECT_EQ(model.graph.find("lm_head.weight"), kNoValue);
  const CodedTensor& norm = model.parameter("model.norm.weight");
  EXPECT_EQ(norm.scheme.codec->info().id, "f32");
  EXPECT_EQ(norm.decode_all()[1], 0.0F);
  EXPECT_EQ(norm.decode_all()[4], 301.0F);
  const FolderReport report = export_folder(out / "n", model, {});
  EXPECT_TRUE(report.notes.empty());
  const MappedFile first(out / "m/model.safetensors");
  const MappedFile second(out / "n/model.safetensors");
  const Safetensors before = read_safetensors(first.bytes(), "m");
  const Safetensors after = read_safetensors(second.bytes(), "n");
  ASSERT_EQ(after.tensors.size(), before.tensors.size());
  for (const auto& [name, tensor] : before.tensors) {
    EXPECT_EQ(after.tensors.at(name).dtype, "BF16") << name;
    if (name.ends_with("norm.weight")) continue;  // but for what 1 + w rounded
    EXPECT_TRUE(std::ranges::equal(after.tensors.at(name).bytes, tensor.bytes)) << name;
  }
  const Model again = open_huggingface(out / "n");
  for (const auto& [name, tensor] : model.parameters) {
    EXPECT_EQ(again.parameter(name).decode_all(), tensor.decode_all()) << name;
  }
}

TEST_F(HuggingFace, NamesTensorsThatDoNotFit) {
  config(small_config());
  std::vector<Tensor> changed = tensors;
  changed[3].shape = {3, 4};
  write_shard(folder / "model.safetensors", changed);
  EXPECT_THAT(refusal(ErrorCode::kCorrupt),
              HasSubstr("k_proj.weight' has shape [3, 4], config.json asks for [2, 4]"));
  changed = tensors;
  changed[3].dtype = DType::kF64;
  write_shard(folder / "model.safetensors", changed);
  EXPECT_THAT(refusal(ErrorCode::kUnsupported), HasSubstr("k_proj.weight' is of type F64"));
  changed = tensors;
  changed.erase(changed.begin() + 3);
  write_shard(folder / "model.safetensors", changed);
  EXPECT_THAT(refusal(ErrorCode::kNotFound), HasSubstr("k_proj.weight'"));
}

TEST_F(HuggingFace, SaysWhatIsMissingOrUnsupported) {
  EXPECT_THAT(refusal(ErrorCode::kNotFound), HasSubstr("has no config.json"));
  config(small_config());
  EXPECT_THAT(refusal(ErrorCode::kNotFound), HasSubstr("neither model.safetensors nor"));
  write_bytes(folder / "pytorch_model.bin", "x");
  EXPECT_THAT(refusal(ErrorCode::kNotFound), HasSubstr("'pytorch_model.bin' is there"));
  write_shard(folder / "model.safetensors", tensors);
  write_bytes(folder / "config.json", "{");
  EXPECT_THAT(refusal(ErrorCode::kCorrupt), HasSubstr("config.json' is not valid JSON"));
  write_bytes(folder / "config.json", "[]");
  EXPECT_THAT(refusal(ErrorCode::kCorrupt), HasSubstr("should be a JSON object"));
  json wrong = small_config();
  wrong["num_hidden_layers"] = 0;
  config(wrong);
  EXPECT_THAT(
      refusal(ErrorCode::kCorrupt),
      HasSubstr(fmt::format("'{}': config.json: 'num_hidden_layers'", folder.path().string())));
  json quantized = small_config();
  quantized["quantization_config"] = {{"quant_method", "hqq"}, {"bits", 4}};
  config(quantized);
  EXPECT_THAT(refusal(ErrorCode::kUnsupported),
              HasSubstr("quantized already, by quant_method 'hqq'; read are: awq,"));
  quantized["quantization_config"] = nullptr;
  config(quantized);
  EXPECT_EQ(open_huggingface(folder.path()).parameters.size(), 12u);
}

// Converting a real model to a checkpoint loses nothing.
void check_real_model(const std::string& name, size_t parameters, int64_t weights) {
  const auto source = shared_data("llm/" + name);
  if (source.empty()) GTEST_SKIP() << name << " is not on this machine";
  const Model model = open_huggingface(source);
  EXPECT_EQ(model.parameters.size(), parameters);
  EXPECT_EQ(model.parameter_count(), weights);
  EXPECT_TRUE(model.unused_tensors.empty());
  EXPECT_FALSE(model.tokenizer_files.empty());

  const TemporaryFolder folder;
  CheckpointContents contents;
  contents.graph = model.graph;
  contents.config = model.config;
  contents.parameters = model.parameters;
  contents.tokenizer_files = model.tokenizer_files;
  write_checkpoint(folder / "m.bitsmith", contents);
  const Model copy = open_model(folder / "m.bitsmith");
  SilentProgress progress;
  verify_checkpoint(copy, progress);
  EXPECT_EQ(copy.graph.to_json(), model.graph.to_json());
  EXPECT_EQ(copy.tokenizer_files, model.tokenizer_files);
  EXPECT_EQ(copy.parameter_bytes(), model.parameter_bytes());
  for (const auto& [tensor_name, tensor] : model.parameters) {
    EXPECT_TRUE(std::ranges::equal(copy.parameter(tensor_name).bytes, tensor.bytes)) << tensor_name;
  }
}

TEST(HuggingFaceRealModels, TinyStories656k) { check_real_model("tinystories-656k", 20, 656'000); }
TEST(HuggingFaceRealModels, Classics7m) { check_real_model("classics-7m", 57, 6'819'072); }

}  // namespace
}  // namespace bitsmith
