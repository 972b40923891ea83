// The reference executor against the native one and against NumPy.
#include "reference/executor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <list>

#include "codecs/codec_testing.h"
#include "core/output_file.h"
#include "core/random.h"
#include "core/testing.h"
#include "families/families_testing.h"
#include "formats/model.h"
#include "formats/model_tokenizer.h"
#include "formats/random_folder_testing.h"
#include "graph/operators.h"
#include "reference/reference_testing.h"
#include "runtime/executor.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;

at::Tensor native_logits(const Model& model, const std::vector<TokenId>& tokens) {
  ThreadPool pool(2);
  Executor executor(model, pool, 64);
  Sequence sequence = executor.make_sequence();
  const std::span<const float> logits = executor.run(sequence, tokens, Executor::Logits::kAll);
  return at::tensor(at::ArrayRef<float>(logits.data(), logits.size()))
      .view({static_cast<int64_t>(tokens.size()), executor.output_channels()});
}

// A model in memory with random f32 parameters.
struct RandomModel {
  explicit RandomModel(Graph g, uint64_t seed) {
    model.graph = std::move(g);
    Random random(seed);
    for (const ValueId id : model.graph.parameters()) {
      const Value& value = model.graph.value(id);
      auto& data = storage.emplace_back(static_cast<size_t>(*element_count(value.shape)));
      for (float& x : data) x = static_cast<float>(0.3 * random.normal());
      if (value.role == "rotation") {
        for (float& x : data) x = x < 0 ? -1.0F : 1.0F;
      }
      model.parameters[value.name] = {value.name, value.shape,
                                      Scheme("f32", nlohmann::json::object()),
                                      std::as_bytes(std::span(data))};
    }
  }
  std::list<std::vector<float>> storage;
  Model model;
};

// Both executors on a graph that ends in [B, T, C]; 33 tokens of a vocabulary of 17.
void expect_executors_agree(Graph graph, const std::string& what) {
  const RandomModel random(std::move(graph), 7);
  Random draw(3);
  std::vector<TokenId> tokens;
  for (int i = 0; i < 33; ++i) tokens.push_back(static_cast<TokenId>(draw.below(17)));
  const at::Tensor expected = reference_testing::logits_of(random.model, tokens);
  const at::Tensor got = native_logits(random.model, tokens);
  const double error = (expected - got).abs().max().item<double>();
  // float32 rounding over sums of tens of terms; attention reads a binary16 cache (2^-11 relative).
  EXPECT_LE(error, 2e-3 * expected.abs().max().item<double>()) << what;
}

struct Start {
  Graph graph;
  ValueId x;
};

Start embedded(int64_t channels) {
  Start s;
  const ValueId tokens = s.graph.add_input("tokens", {kBatch, kTime});
  const ValueId table = s.graph.add_parameter("table", {17, channels}, "embedding");
  s.x = ops::embedding(s.graph, "embedding", tokens, table);
  return s;
}

TEST(Executors, AgreeOnEveryOperator) {
  {
    Start s = embedded(24);
    s.graph.outputs = {s.x};
    expect_executors_agree(s.graph, "embedding");
  }
  for (const bool bias : {false, true}) {
    Start s = embedded(24);
    const ValueId w = s.graph.add_parameter("w", {19, 24}, "w");
    const ValueId b = bias ? s.graph.add_parameter("b", {19}, "bias") : kNoValue;
    s.graph.outputs = {ops::linear(s.graph, "linear", s.x, w, b)};
    expect_executors_agree(s.graph, "linear");
  }
  for (const int64_t run : {24, 8}) {
    Start s = embedded(24);
    const ValueId w = s.graph.add_parameter("w", {run}, "norm");
    s.graph.outputs = {ops::rms_norm(s.graph, "norm", s.x, w, 1e-5)};
    expect_executors_agree(s.graph, "rms_norm");
  }
  for (const bool inverse : {false, true}) {
    for (const int64_t run : {24, 8, 3}) {
      Start s = embedded(24);
      const ValueId signs = s.graph.add_parameter("signs", {run}, "rotation");
      s.graph.outputs = {ops::hadamard(s.graph, "hadamard", s.x, signs, inverse)};
      expect_executors_agree(s.graph, "hadamard");
    }
  }
  for (const int64_t bits : {8, 4, 2}) {
    Start s = embedded(24);
    s.graph.outputs = {ops::round_tokens(s.graph, "rounded", s.x, bits)};
    expect_executors_agree(s.graph, "round_tokens");
  }
  for (const bool first : {false, true}) {
    Start s = embedded(24);
    const ValueId v = s.graph.add_parameter("v", {24}, "shift");
    s.graph.outputs = {first ? ops::add(s.graph, "moved", v, s.x)
                             : ops::add(s.graph, "moved", s.x, v)};
    expect_executors_agree(s.graph, "add of a vector");
  }
  {
    Start s = embedded(24);
    s.graph.outputs = {ops::rope(s.graph, "rope", s.x, {1.0, 0.3, 0.01, 0.002}, 1.1)};
    expect_executors_agree(s.graph, "rope");
  }
  for (const auto& [window, cap] : {std::pair(0, 0.0), std::pair(5, 0.0), std::pair(5, 0.4)}) {
    Start s = embedded(48);
    const auto project = [&](const std::string& name, int64_t out) {
      return ops::linear(s.graph, name, s.x, s.graph.add_parameter(name + ".w", {out, 48}, name));
    };
    const ValueId q = project("q", 32);
    const ValueId k = project("k", 16);
    const ValueId v = project("v", 16);
    s.graph.outputs = {ops::attention(s.graph, "mix", q, k, v,
                                      {.heads = 4,
                                       .kv_heads = 2,
                                       .head_dim = 8,
                                       .scale = 0.35,
                                       .window = window,
                                       .soft_cap = cap})};
    expect_executors_agree(s.graph, "attention");
  }
  {
    Start s = embedded(24);
    s.graph.outputs = {ops::scale(s.graph, "scale", s.x, -2.5)};
    expect_executors_agree(s.graph, "scale");
  }
  {
    Start s = embedded(24);
    s.graph.outputs = {ops::soft_cap(s.graph, "cap", s.x, 0.4)};
    expect_executors_agree(s.graph, "soft_cap");
  }
  for (const bool fused : {false, true}) {
    Start s = embedded(24);
    const ValueId gate = ops::unary(s.graph, "gelu_tanh", "gelu", s.x);
    s.graph.outputs = {fused ? ops::multiply(s.graph, "product", gate, s.x) : gate};
    expect_executors_agree(s.graph, "gelu_tanh");
  }
  {
    Start s = embedded(24);
    const ValueId gate = ops::silu(s.graph, "silu", s.x);
    const ValueId product = ops::multiply(s.graph, "product", gate, s.x);
    s.graph.outputs = {ops::add(s.graph, "sum", product, s.x)};
    expect_executors_agree(s.graph, "silu, multiply, add");
  }
}

// A layer of integer weights multiplies rounded activations as integers: nothing is rounded again.
TEST(Executors, AgreeOnIntegersToFloatRounding) {
  for (const int64_t bits : {8, 4}) {
    for (const int64_t group : {0, 32, 64}) {
      Start s = embedded(96);
      const ValueId w = s.graph.add_parameter("w", {40, 96}, "w");
      const ValueId x = ops::round_tokens(s.graph, "rounded", s.x, bits);
      s.graph.outputs = {ops::linear(s.graph, "linear", x, w)};
      RandomModel random(s.graph, 7);
      const Scheme scheme("int", {{"bits", 4}, {"group", group}});
      ThreadPool pool(1);
      CodedTensor& weight = random.model.parameters.at("w");
      const std::vector<std::byte> bytes =
          testing::encode(scheme, {40, 96}, weight.decode_all(), pool).bytes;
      weight.scheme = scheme;
      weight.bytes = bytes;
      const std::vector<TokenId> tokens = {1, 5, 16, 0, 3};
      const at::Tensor expected = reference_testing::logits_of(random.model, tokens);
      const at::Tensor got = native_logits(random.model, tokens);
      // Sums of 96 products in float32 on both sides.
      EXPECT_LE((expected - got).abs().max().item<double>(),
                1e-5 * expected.abs().max().item<double>())
          << bits << " " << group;
    }
  }
}

// Rounding lets derivatives pass.
TEST(RoundTokens, PassesDerivatives) {
  Start s = embedded(8);
  const ValueId y = ops::round_tokens(s.graph, "rounded", s.x, 2);
  const ReferenceOperator& op = Registry<ReferenceOperator>::instance().get("round_tokens");
  at::Tensor x = at::randn({2, 3, 8});
  x.set_requires_grad(true);
  const at::Tensor out = op.compute(s.graph.nodes.back(), {x});
  out.sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), at::ones_like(x)));
  EXPECT_EQ(s.graph.value(y).shape.back(), 8);
}

std::vector<TokenId> some_tokens(int64_t vocab, int count) {
  Random random(11);
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i)
    tokens.push_back(static_cast<TokenId>(random.below(static_cast<uint64_t>(vocab))));
  return tokens;
}

void compare_with_numpy(const fs::path& folder) {
  const Model model = open_model(folder);
  const std::vector<TokenId> tokens =
      some_tokens(model.graph.value(model.graph.outputs[0]).shape.back(), 96);
  const at::Tensor reference = reference_testing::logits_of(model, tokens);
  const at::Tensor native = native_logits(model, tokens);
  const double scale = reference.abs().max().item<double>();
  EXPECT_LE((reference - native).abs().max().item<double>(), 1e-3 * scale);

  const testing::TemporaryFolder out;
  const auto write = [&](const char* name, const void* data, size_t bytes) {
    testing::write_bytes(out / name, {static_cast<const char*>(data), bytes});
  };
  write("tokens", tokens.data(), tokens.size() * sizeof(TokenId));
  write("reference", reference.data_ptr<float>(), static_cast<size_t>(reference.numel()) * 4);
  write("native", native.data_ptr<float>(), static_cast<size_t>(native.numel()) * 4);
  const std::string command =
      fmt::format("/usr/bin/python3 '{}/tests/numpy/llama.py' '{}' '{}' '{}' '{}'",
                  testing::source_folder().string(), folder.string(), (out / "tokens").string(),
                  (out / "reference").string(), (out / "native").string());
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
}

TEST(Executors, AgreeWithNumPyOnClassics) {
  compare_with_numpy(testing::source_folder() / "models/classics-7m");
}

TEST(Executors, AgreeWithNumPyOnTinystories) {
  const fs::path folder = testing::shared_data("llm/tinystories-656k");
  if (folder.empty()) GTEST_SKIP() << "llm/tinystories-656k is not there";
  compare_with_numpy(folder);
}

// Random weights; 96 tokens are many windows of 5.
TEST(Executors, AgreeWithNumPyOnGemma) {
  const testing::TemporaryFolder folder;
  for (const std::string family : {"gemma", "gemma2", "gemma3_text"}) {
    SCOPED_TRACE(family);
    nlohmann::json config = {{"model_type", family},     {"vocab_size", 200},
                             {"hidden_size", 48},        {"intermediate_size", 80},
                             {"num_hidden_layers", 2},   {"num_attention_heads", 4},
                             {"num_key_value_heads", 2}, {"rms_norm_eps", 1e-6},
                             {"rope_theta", 10000.0},    {"torch_dtype", "bfloat16"}};
    config.update(testing::gemma_fields(family));
    // Where all logits are near the cap, rounding is large beside them.
    if (family == "gemma2") config["final_logit_softcapping"] = 8;
    testing::write_random_folder(folder / family, config);
    compare_with_numpy(folder / family);
  }
}

// exp of the mean cross entropy over windows of a text.
double perplexity(const Model& model, const std::vector<std::vector<TokenId>>& windows,
                  at::Tensor (*logits)(const Model&, const std::vector<TokenId>&)) {
  double nats = 0;
  int64_t scored = 0;
  for (const std::vector<TokenId>& window : windows) {
    const auto count = static_cast<int64_t>(window.size()) - 1;
    const at::Tensor next =
        at::tensor(at::ArrayRef<TokenId>(window).slice(1), at::TensorOptions().dtype(at::kLong));
    const at::Tensor predicted = logits(model, window).narrow(0, 0, count).to(at::kDouble);
    nats += at::cross_entropy_loss(predicted, next, {}, at::Reduction::Sum).item<double>();
    scored += count;
  }
  return std::exp(nats / static_cast<double>(scored));
}

TEST(Executors, GiveTheSamePerplexityToFourDigits) {
  const fs::path models = testing::source_folder() / "models";
  const Model model = open_model(models / "classics-7m");
  const std::vector<TokenId> tokens =
      tokenizer_of(model)->encode(read_file(models / "tale.txt", 1 << 20), false);
  constexpr size_t kLength = 256;
  ASSERT_GE(tokens.size(), 8 * kLength);
  std::vector<std::vector<TokenId>> windows;
  for (size_t i = 0; i < 8; ++i) {
    windows.emplace_back(&tokens[i * kLength], &tokens[i * kLength] + kLength);
  }
  const double reference = perplexity(model, windows, reference_testing::logits_of);
  const double native = perplexity(model, windows, native_logits);
  EXPECT_LT(reference, 500);  // it has learned something
  EXPECT_NEAR(native, reference, 5e-5 * reference);
}

}  // namespace
}  // namespace bitsmith
