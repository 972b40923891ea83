// The measures against their definitions in float64, and the driver against the measures.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "evaluation/evaluate.h"
#include "evaluation/log_softmax.h"
#include "runtime/runtime_testing.h"

namespace bitsmith {
namespace {

using testing::random_tokens;
using testing::small_config;
using testing::SmallModel;

std::vector<float> random_logits(size_t count, uint64_t seed, double spread = 3.0) {
  Random random(seed);
  std::vector<float> logits(count);
  for (float& x : logits) x = static_cast<float>(spread * random.normal());
  return logits;
}

std::vector<double> log_softmax(std::span<const float> logits) {
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x));
  std::vector<double> result;
  for (const float x : logits) result.push_back(static_cast<double>(x) - std::log(sum));
  return result;
}

double kl(std::span<const float> original, std::span<const float> model) {
  const std::vector<double> p = log_softmax(original);
  const std::vector<double> q = log_softmax(model);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += std::exp(p[i]) * (p[i] - q[i]);
  return sum;
}

TEST(LogSoftmax, EqualsTheDefinition) {
  for (const size_t count : {1u, 2u, 17u, 1000u}) {
    const std::vector<float> a = random_logits(count, 1);
    const std::vector<float> b = random_logits(count, 2);
    std::vector<float> scratch(count);
    const std::vector<double> expected = log_softmax(a);
    // Exponentials are good to some units of 2^-24 of the sum, logits to 2^-24 of 12.
    for (const size_t i : {size_t{0}, count / 2, count - 1}) {
      EXPECT_NEAR(negative_log_likelihood(a, static_cast<TokenId>(i)), -expected[i], 1e-5);
    }
    EXPECT_NEAR(kl_divergence(a, b, scratch), kl(a, b), 1e-5);
    EXPECT_EQ(kl_divergence(a, a, scratch), 0.0);
  }
  // Far from zero nothing overflows.
  const std::vector<float> far = {1000.0f, 999.0f};
  EXPECT_NEAR(negative_log_likelihood(far, 0), std::log1p(std::exp(-1.0)), 1e-6);
  EXPECT_EQ(arg_max(std::vector<float>{1, 5, 5, 2}), 1);
}

TEST(ErrorBar, TheRatioEstimator) {
  WindowMean mean;
  EXPECT_EQ(mean.estimate().value, 0);
  mean.add(10, 5);
  EXPECT_EQ(mean.estimate().value, 2);
  EXPECT_EQ(mean.estimate().error, 0);
  mean.add(6, 1);
  mean.add(20, 10);
  // m = 36 / 16 = 2.25; residuals 10 - 11.25, 6 - 2.25, 20 - 22.5
  const double squares = 1.25 * 1.25 + 3.75 * 3.75 + 2.5 * 2.5;
  EXPECT_DOUBLE_EQ(mean.estimate().value, 2.25);
  EXPECT_DOUBLE_EQ(mean.estimate().error, std::sqrt(1.5 * squares) / 16);
  EXPECT_EQ(mean.tokens(), 16);
}

// The error bar says how far the mean of such windows is from the truth.
TEST(ErrorBar, CoversTheTruthAsOftenAsItSays) {
  int covered = 0;
  constexpr int kRepeats = 1000;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    Random random(static_cast<uint64_t>(repeat));
    WindowMean mean;
    for (int w = 0; w < 50; ++w) {
      const double level = 3 + 0.5 * random.normal();  // tokens of a window are alike
      double sum = 0;
      for (int t = 0; t < 20; ++t) sum += level + random.normal();
      mean.add(sum, 20);
    }
    const Estimate estimate = mean.estimate();
    covered += std::abs(estimate.value - 3) < estimate.error ? 1 : 0;
  }
  // 68.3 % for a normal mean, a little less for 50 windows; 5 standard deviations are 7.4 %.
  EXPECT_NEAR(covered, 0.678 * kRepeats, 0.074 * kRepeats);
}

TEST(Divergence, QuantilesAndMeans) {
  DivergenceCollector collector;
  std::vector<float> values(200);
  std::iota(values.begin(), values.end(), 1.0f);  // 1 .. 200
  collector.add({values.begin() + 100, values.end()}, 60, 5.0);
  collector.add({values.begin(), values.begin() + 100}, 90, -1.0);
  const Divergence d = collector.finish();
  EXPECT_EQ(d.kl_median_nats, 100);
  EXPECT_EQ(d.kl_p99_nats, 198);
  EXPECT_EQ(d.kl_max_nats, 200);
  EXPECT_DOUBLE_EQ(d.kl_nats.value, 100.5);
  EXPECT_DOUBLE_EQ(d.top1_agreement.value, 0.75);
  EXPECT_DOUBLE_EQ(d.nats_lost.value, 0.02);
  EXPECT_GT(d.kl_nats.error, 0);
}

// One token for each byte.
class ByteTokenizer final : public Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  int64_t vocab_size() const override { return 256; }
  std::optional<TokenId> bos() const override { return std::nullopt; }
  std::vector<TokenId> eos() const override { return {}; }
  std::string piece(TokenId id) const override { return std::string(1, static_cast<char>(id)); }
};

TEST(Windows, FullWindowsOnly) {
  const ByteTokenizer tokenizer;
  const Windows windows = cut_windows(tokenizer, "abcdefghijk", 4);
  ASSERT_EQ(windows.windows.size(), 2u);
  EXPECT_EQ(windows.windows[1], (std::vector<TokenId>{'e', 'f', 'g', 'h'}));
  EXPECT_EQ(windows.bytes, 8u);
  EXPECT_EQ(windows.tokens(), 8);
  EXPECT_EQ(windows.scored_tokens(), 6);
  // A text shorter than a window is one window.
  EXPECT_EQ(cut_windows(tokenizer, "abc", 4).windows.size(), 1u);
  EXPECT_EQ(cut_windows(tokenizer, "abcdefghijk", 4, 6).tokens(), 4);
  EXPECT_THROW(cut_windows(tokenizer, "a", 4), Error);
  EXPECT_THROW(cut_windows(tokenizer, "abc", 1), Error);
}

class Evaluate : public ::testing::Test {
 protected:
  Evaluate()
      : original_(small_config("llama"), Scheme("f32", nlohmann::json::object())),
        model_(small_config("llama"), Scheme("int", {{"bits", 4}, {"group", 32}})) {
    for (const int64_t length : {30, 12, 2, 30, 25}) {
      windows_.windows.push_back(random_tokens(length, 96, static_cast<uint64_t>(length)));
    }
    windows_.bytes = 300;
  }

  Evaluation run(int64_t batch, int threads, bool with_original = true) {
    ThreadPool pool(threads);
    Executor executor(model_.graph, model_.parameters, pool, batch);
    Executor reference(original_.graph, original_.parameters, pool, batch);
    SilentProgress progress;
    return evaluate(executor, with_original ? &reference : nullptr, windows_, progress);
  }

  const SmallModel original_;
  const SmallModel model_;
  Windows windows_;
};

TEST_F(Evaluate, EqualsTheDefinition) {
  ThreadPool pool(1);
  Executor executor(model_.graph, model_.parameters, pool, 64);
  Executor reference(original_.graph, original_.parameters, pool, 64);
  double loss = 0;
  double original_loss = 0;
  double divergence = 0;
  double agreed = 0;
  double scored = 0;
  for (const auto& window : windows_.windows) {
    Sequence a = executor.make_sequence();
    Sequence b = reference.make_sequence();
    const auto x = executor.run(a, window, Executor::Logits::kAll);
    const auto y = reference.run(b, window, Executor::Logits::kAll);
    for (size_t t = 0; t + 1 < window.size(); ++t) {
      const auto row = x.subspan(t * 96, 96);
      const auto original_row = y.subspan(t * 96, 96);
      loss -= log_softmax(row)[static_cast<size_t>(window[t + 1])];
      original_loss -= log_softmax(original_row)[static_cast<size_t>(window[t + 1])];
      divergence += kl(original_row, row);
      agreed += arg_max(row) == arg_max(original_row) ? 1 : 0;
      ++scored;
    }
  }
  const Evaluation e = run(64, 2);
  EXPECT_EQ(e.windows, 5);
  EXPECT_EQ(e.context, 30);
  EXPECT_EQ(e.model.tokens, static_cast<int64_t>(scored));
  EXPECT_NEAR(e.model.nats.value, loss / scored, 1e-5);
  EXPECT_NEAR(e.model.perplexity.value, std::exp(loss / scored), 1e-3);
  EXPECT_NEAR(e.model.perplexity.error, e.model.perplexity.value * e.model.nats.error, 1e-9);
  EXPECT_NEAR(e.model.bits_per_byte, loss / std::log(2.0) / 300, 1e-5);
  EXPECT_NEAR(e.original->nats.value, original_loss / scored, 1e-5);
  EXPECT_NEAR(e.divergence->kl_nats.value, divergence / scored, 1e-5);
  EXPECT_NEAR(e.divergence->top1_agreement.value, agreed / scored, 1e-12);
  EXPECT_NEAR(e.divergence->nats_lost.value, (loss - original_loss) / scored, 1e-5);
  EXPECT_GT(e.divergence->kl_nats.value, 1e-4);  // four bits lose something
}

TEST_F(Evaluate, TheSameForAnyBatchAndThreads) {
  const nlohmann::json expected = run(64, 1).to_json();
  for (const int64_t batch : {1, 7, 30, 1000}) EXPECT_EQ(run(batch, 3).to_json(), expected);
  EXPECT_EQ(run(64, 1, false).to_json()["model"], expected["model"]);
  EXPECT_FALSE(run(64, 1, false).to_json().contains("divergence"));
}

TEST_F(Evaluate, AModelDoesNotDivergeFromItself) {
  ThreadPool pool(2);
  Executor a(model_.graph, model_.parameters, pool, 32);
  Executor b(model_.graph, model_.parameters, pool, 50);
  SilentProgress progress;
  const Evaluation e = evaluate(a, &b, windows_, progress);
  EXPECT_EQ(e.divergence->kl_max_nats, 0);
  EXPECT_EQ(e.divergence->top1_agreement.value, 1);
  EXPECT_EQ(e.divergence->nats_lost.value, 0);
}

TEST_F(Evaluate, RefusesOtherVocabularies) {
  auto config = small_config("llama");
  config["vocab_size"] = 97;
  const SmallModel other(config, Scheme("f32", nlohmann::json::object()));
  ThreadPool pool(1);
  Executor a(model_.graph, model_.parameters, pool, 32);
  Executor b(other.graph, other.parameters, pool, 32);
  SilentProgress progress;
  EXPECT_THROW(evaluate(a, &b, windows_, progress), Error);
  windows_.windows.push_back({1, 96});
  EXPECT_THROW(evaluate(a, nullptr, windows_, progress), Error);
}

}  // namespace
}  // namespace bitsmith
