#include "runtime/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/interrupt.h"
#include "graph/operators.h"
#include "runtime/runtime_testing.h"

namespace bitsmith {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::random_tokens;
using testing::run_plainly;
using testing::small_config;
using testing::SmallModel;
using Logits = Executor::Logits;

Scheme f32() { return Scheme("f32", nlohmann::json::object()); }
Scheme int4() { return Scheme("int", {{"bits", 4}, {"group", 32}}); }

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

// The logits of a whole text in one call.
std::vector<float> run_whole(const SmallModel& model, std::span<const TokenId> tokens,
                             int threads = 1, int64_t max_batch_tokens = 64) {
  ThreadPool pool(threads);
  Executor executor(model.graph, model.parameters, pool, max_batch_tokens);
  Sequence sequence = executor.make_sequence();
  return copy(executor.run(sequence, tokens, Logits::kAll));
}

// Keys and values are rounded to binary16 (relative 2^-11), everything else to float32; two layers
// pass that on with a gain near one, so 2^-8 of the largest logit is generous by about 4.
void expect_close(const std::vector<float>& logits, const std::vector<double>& expected) {
  ASSERT_EQ(logits.size(), expected.size());
  double largest = 0;
  for (const double x : expected) largest = std::max(largest, std::abs(x));
  ASSERT_GT(largest, 0.5);  // a model whose logits vanish would test nothing
  for (size_t i = 0; i < logits.size(); ++i) {
    ASSERT_NEAR(logits[i], expected[i], 0x1.0p-8 * largest) << "logit " << i;
  }
}

TEST(Executor, EqualsThePlainDefinition) {
  const std::vector<TokenId> tokens = random_tokens(37, 96, 1);
  auto tied = small_config("llama");
  tied["tie_word_embeddings"] = true;
  auto biased = small_config("llama");
  biased["attention_bias"] = true;
  auto windowed = small_config("mistral");
  windowed["sliding_window"] = 5;
  for (const auto& config :
       {small_config("llama"), small_config("qwen2"), small_config("qwen3"), small_config("gemma"),
        small_config("gemma2"), small_config("gemma3_text"), windowed, tied, biased}) {
    SCOPED_TRACE(config.dump());
    const SmallModel model(config, f32());
    expect_close(run_whole(model, tokens), run_plainly(model.graph, model.parameters, tokens));
  }
}

TEST(Executor, TheWindowMatters) {
  auto config = small_config("mistral");
  config["sliding_window"] = 5;
  const SmallModel windowed(config, f32());
  config["sliding_window"] = nullptr;
  const SmallModel full(config, f32());
  const std::vector<TokenId> tokens = random_tokens(12, 96, 1);
  const auto a = run_whole(windowed, tokens);
  const auto b = run_whole(full, tokens);
  EXPECT_TRUE(std::equal(a.begin(), a.begin() + 5 * 96, b.begin()));
  EXPECT_FALSE(std::equal(a.begin() + 5 * 96, a.end(), b.begin() + 5 * 96));
}

// The bits of a token's logits depend on nothing but its own text.
struct Coded {
  std::string family;
  bool int4 = false;
};
class SameBits : public ::testing::TestWithParam<Coded> {
 protected:
  SameBits() : model_(small_config(GetParam().family), GetParam().int4 ? int4() : f32()) {}
  const SmallModel model_;
  const std::vector<TokenId> tokens_ = random_tokens(45, 96, 2);
};

TEST_P(SameBits, TokenByTokenAsAtOnce) {
  const std::vector<float> whole = run_whole(model_, tokens_);
  ThreadPool pool(2);
  Executor executor(model_.graph, model_.parameters, pool, 8);
  Sequence sequence = executor.make_sequence();
  for (size_t t = 0; t < tokens_.size(); ++t) {
    const auto logits = executor.run(sequence, {&tokens_[t], 1}, Logits::kLast);
    ASSERT_TRUE(std::equal(logits.begin(), logits.end(), whole.begin() + t * 96)) << t;
  }
  EXPECT_EQ(sequence.length(), 45);
}

TEST_P(SameBits, AnyNumberOfThreadsAndAnyBatch) {
  const std::vector<float> whole = run_whole(model_, tokens_);
  for (const int threads : {2, 7}) EXPECT_EQ(run_whole(model_, tokens_, threads), whole);
  for (const int64_t batch : {1, 3, 16, 44, 45}) {
    EXPECT_EQ(run_whole(model_, tokens_, 2, batch), whole) << batch;
  }
}

TEST_P(SameBits, SeveralSequencesTogether) {
  ThreadPool pool(3);
  for (const int64_t batch : {7, 64}) {
    Executor executor(model_.graph, model_.parameters, pool, batch);
    std::vector<Sequence> sequences;
    std::vector<std::vector<TokenId>> texts;
    for (const int64_t length : {1, 20, 5, 9}) {
      texts.push_back(random_tokens(length, 96, static_cast<uint64_t>(length)));
      sequences.push_back(executor.make_sequence());
    }
    // The first halves, then the rest, so that sequences stand at different positions.
    for (const bool rest : {false, true}) {
      std::vector<Executor::Segment> segments;
      std::vector<float> expected_all;
      std::vector<float> expected_last;
      for (size_t s = 0; s < texts.size(); ++s) {
        const size_t half = texts[s].size() / 2;
        const std::span<const TokenId> part =
            rest ? std::span(texts[s]).subspan(half) : std::span(texts[s]).first(half);
        if (part.empty()) continue;
        segments.push_back({&sequences[s], part});
        const std::vector<float> alone = run_whole(model_, texts[s]);
        const auto begin = alone.begin() + static_cast<std::ptrdiff_t>(rest ? half : 0) * 96;
        const auto end = begin + static_cast<std::ptrdiff_t>(part.size()) * 96;
        expected_all.insert(expected_all.end(), begin, end);
        expected_last.insert(expected_last.end(), end - 96, end);
      }
      std::vector<int64_t> lengths;
      for (const Sequence& sequence : sequences) lengths.push_back(sequence.length());
      EXPECT_EQ(copy(executor.run(segments, Logits::kLast)), expected_last);
      for (size_t s = 0; s < texts.size(); ++s) sequences[s].truncate(lengths[s]);
      EXPECT_EQ(copy(executor.run(segments, Logits::kAll)), expected_all);
    }
  }
}

TEST_P(SameBits, TruncatedTextsGoOnAsIfNothingHadBeen) {
  ThreadPool pool(1);
  Executor executor(model_.graph, model_.parameters, pool, 16);
  Sequence sequence = executor.make_sequence();
  executor.run(sequence, random_tokens(30, 96, 9), Logits::kLast);
  sequence.reset();
  executor.run(sequence, std::span(tokens_).first(20), Logits::kLast);
  executor.run(sequence, random_tokens(7, 96, 10), Logits::kLast);
  sequence.truncate(20);
  const auto logits = executor.run(sequence, std::span(tokens_).subspan(20), Logits::kLast);
  const std::vector<float> whole = run_whole(model_, tokens_);
  EXPECT_TRUE(std::equal(logits.begin(), logits.end(), whole.end() - 96));
}

INSTANTIATE_TEST_SUITE_P(Models, SameBits,
                         ::testing::Values(Coded{"qwen3"}, Coded{"qwen3", true}, Coded{"gemma2"},
                                           Coded{"gemma3_text", true}),
                         [](const auto& test) {
                           return test.param.family + (test.param.int4 ? "_int4" : "_f32");
                         });

TEST(Executor, GraphsOfOtherShapes) {
  // No attention at all; silu(x) read twice, so that it cannot be fused; x + x.
  Graph graph;
  const ValueId ids = graph.add_input("tokens", {kBatch, kTime});
  const ValueId table = graph.add_parameter("table", {11, 16}, "embedding");
  const ValueId x = ops::embedding(graph, "embed", ids, table);
  const ValueId s = ops::silu(graph, "s", x);
  const ValueId p = ops::multiply(graph, "p", s, x);
  const ValueId q = ops::multiply(graph, "q", p, s);
  graph.outputs = {ops::add(graph, "y", q, q)};
  std::vector<float> weights(11 * 16);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.02f * static_cast<float>(i) - 1.5f;
  const std::map<std::string, CodedTensor> parameters = {
      {"table", {"table", {11, 16}, f32(), std::as_bytes(std::span(weights))}}};
  ThreadPool pool(2);
  Executor executor(graph, parameters, pool, 4);
  const std::vector<TokenId> tokens = {3, 10, 0, 7, 7};
  const std::vector<double> expected = run_plainly(graph, parameters, tokens);
  Sequence sequence = executor.make_sequence();
  const auto all = copy(executor.run(sequence, tokens, Logits::kAll));
  expect_close(all, expected);
  const auto last = copy(executor.run(sequence, tokens, Logits::kLast));
  EXPECT_TRUE(std::equal(last.begin(), last.end(), all.end() - 16));

  // The output is what attention makes: rows are narrowed after the last node.
  Graph tail;
  const ValueId input = tail.add_input("tokens", {kBatch, kTime});
  const ValueId rows = tail.add_parameter("table", {11, 16}, "embedding");
  const ValueId y = ops::embedding(tail, "embed", input, rows);
  tail.outputs = {ops::attention(tail, "a", y, y, y, {2, 2, 8, 0.3, 0})};
  Executor tail_executor(tail, parameters, pool, 2);
  Sequence other = tail_executor.make_sequence();
  const auto attended = copy(tail_executor.run(other, tokens, Logits::kAll));
  expect_close(attended, run_plainly(tail, parameters, tokens));
  other.reset();
  const auto last_attended = copy(tail_executor.run(other, tokens, Logits::kLast));
  EXPECT_TRUE(std::equal(last_attended.begin(), last_attended.end(), attended.end() - 16));
}

TEST(Executor, RefusesWhatItCannotRun) {
  const SmallModel model(small_config("llama"), f32());
  ThreadPool pool(1);
  const auto code_of = [](const auto& body) -> int {
    try {
      body();
    } catch (const Error& error) {
      return error.exit_code();
    }
    return 0;
  };
  Executor executor(model.graph, model.parameters, pool, 8);
  Sequence sequence = executor.make_sequence();
  for (const TokenId token : {-1, 96, 1 << 30}) {
    const std::vector<TokenId> tokens = {1, 2, token};
    EXPECT_EQ(code_of([&] { executor.run(sequence, tokens, Logits::kLast); }), 2) << token;
    EXPECT_EQ(sequence.length(), 0);
  }
  EXPECT_EQ(code_of([&] { Executor(model.graph, model.parameters, pool, 0); }), 2);

  auto missing = model.parameters;
  missing.erase(missing.begin());
  EXPECT_EQ(code_of([&] { Executor(model.graph, missing, pool, 8); }), 3);
  auto misshapen = model.parameters;
  misshapen.begin()->second.shape.push_back(1);
  EXPECT_EQ(code_of([&] { Executor(model.graph, misshapen, pool, 8); }), 4);

  Graph two_outputs = model.graph;
  two_outputs.outputs.push_back(two_outputs.outputs[0]);
  EXPECT_EQ(code_of([&] { Executor(two_outputs, model.parameters, pool, 8); }), 5);
  Graph image;
  image.add_input("image", {kBatch, 3, 8, 8});
  image.outputs = {ops::silu(image, "s", 0)};
  EXPECT_EQ(code_of([&] { Executor(image, {}, pool, 8); }), 5);
}

// A vector is added to values of as many channels; broadcasting is refused.
TEST(Executor, AddsVectorsToEqualChannelsOnly) {
  for (const int64_t channels : {16, 1}) {
    for (const bool vector_first : {false, true}) {
      Graph graph;
      const ValueId ids = graph.add_input("tokens", {kBatch, kTime});
      const ValueId table = graph.add_parameter("table", {11, channels}, "embedding");
      const ValueId vector = graph.add_parameter("vector", {16}, "shift");
      const ValueId x = ops::embedding(graph, "embed", ids, table);
      graph.outputs = {vector_first ? ops::add(graph, "y", vector, x)
                                    : ops::add(graph, "y", x, vector)};
      const std::vector<float> weights(static_cast<size_t>(11 * channels), 2.0F);
      const std::vector<float> numbers(16, 0.5F);
      const std::map<std::string, CodedTensor> parameters = {
          {"table", {"table", {11, channels}, f32(), std::as_bytes(std::span(weights))}},
          {"vector", {"vector", {16}, f32(), std::as_bytes(std::span(numbers))}}};
      ThreadPool pool(1);
      const std::vector<TokenId> tokens = {3, 10, 0};
      const auto run = [&] {
        Executor executor(graph, parameters, pool, 4);
        Sequence sequence = executor.make_sequence();
        return copy(executor.run(sequence, tokens, Logits::kAll));
      };
      if (channels == 16) {
        EXPECT_THAT(run(), ::testing::AllOf(::testing::SizeIs(48), ::testing::Each(2.5F)));
      } else {
        EXPECT_THROW(run(), Error);
      }
    }
  }
}

// Codecs without a kernel: decoded once, the logits are the same, bit for bit.
TEST(Executor, KeepsDecodedWeights) {
  const SmallModel model(small_config("llama"), Scheme("nf4", {{"group", 8}}));
  ThreadPool pool(2);
  Executor executor(model.graph, model.parameters, pool, 8);
  EXPECT_THAT(executor.kernel_names(),
              ElementsAre(HasSubstr("at every use (no kernel for nf4 g8)")));
  const std::vector<TokenId> tokens = random_tokens(8, 96, 1);
  const auto logits = [&] {
    Sequence sequence = executor.make_sequence();
    const auto result = executor.run(sequence, tokens, Logits::kAll);
    return std::vector<float>(result.begin(), result.end());
  };
  const std::vector<float> expected = logits();
  const uint64_t before = executor.memory_bytes();
  EXPECT_FALSE(executor.keep_decoded_weights(1000));
  EXPECT_EQ(executor.memory_bytes(), before);
  EXPECT_TRUE(executor.keep_decoded_weights(uint64_t{1} << 30));
  EXPECT_GT(executor.memory_bytes(), before + 1000);
  EXPECT_THAT(executor.kernel_names(), ElementsAre(HasSubstr("decoded to float32 once")));
  EXPECT_EQ(logits(), expected);
  // Kernels that multiply codes have nothing to keep.
  const SmallModel integers(small_config("llama"), int4());
  Executor other(integers.graph, integers.parameters, pool, 8);
  EXPECT_FALSE(other.keep_decoded_weights(uint64_t{1} << 30));
}

TEST(Executor, ReportsKernelsAndMemory) {
  const SmallModel model(small_config("llama"), int4());
  ThreadPool pool(1);
  Executor executor(model.graph, model.parameters, pool, 8);
  ASSERT_EQ(executor.kernel_names().size(), 1u);
  EXPECT_TRUE(executor.kernel_names()[0].starts_with("15 x "));  // 2 * 7 and the head
  const uint64_t before = executor.memory_bytes();
  Sequence sequence = executor.make_sequence();
  executor.run(sequence, random_tokens(8, 96, 1), Logits::kAll);
  EXPECT_GT(executor.memory_bytes(), before);
  EXPECT_GT(sequence.memory_bytes(), 0u);
  EXPECT_EQ(executor.output_channels(), 96);
}

}  // namespace
}  // namespace bitsmith
