// Recipes that round activations per token, the whole way: nodes in the graph, integers in the
// native executor, the same file for any number of threads, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "core/testing.h"
#include "pipeline/code_activations.h"
#include "pipeline/pipeline_testing.h"
#include "reference/reference_testing.h"
#include "runtime/executor.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using reference_testing::logits_of;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TinyJob;

CompressRequest request_of(const TinyJob& job, const std::string& recipe) {
  CompressRequest request = job.request;
  request.recipe = recipe;
  request.budget = {};
  request.overrides = {"calibrate.sequences=5", "calibrate.length=24"};
  return request;
}

const std::vector<TokenId> kTokens = {1, 70, 200, 33, 8, 120};

at::Tensor native_logits(const Model& model) {
  ThreadPool pool(2);
  Executor native(model, pool, 8);
  Sequence sequence = native.make_sequence();
  const std::span<const float> got = native.run(sequence, kTokens, Executor::Logits::kAll);
  return at::tensor(at::ArrayRef<float>(got.data(), got.size()));
}

// The same network without the rounding.
Model unrounded(Model model) {
  std::map<ValueId, ValueId> before;
  for (const Node& node : model.graph.nodes) {
    if (node.op == "round_tokens") before[node.outputs[0]] = node.inputs[0];
  }
  for (Node& node : model.graph.nodes) {
    for (ValueId& id : node.inputs) id = before.contains(id) ? before[id] : id;
  }
  return model;
}

TEST(RoundedTokens, AreNodesThatBothExecutorsCompute) {
  TinyJob job;
  SilentProgress silent;
  for (const char* recipe : {"smoothquant", "os-plus", "qqq"}) {
    compress(request_of(job, recipe), silent);
    const Model model = open_model(job.request.output);
    // Before attention, behind it, before gate and up, behind the product; before the head.
    EXPECT_EQ(std::ranges::count(model.graph.nodes, "round_tokens", &Node::op), 2 * 4 + 1);
    for (const Node& node : model.graph.nodes) {
      if (node.op != "linear") continue;
      const auto maker = std::ranges::find_if(
          model.graph.nodes, [&](const Node& other) { return other.outputs[0] == node.inputs[0]; });
      EXPECT_EQ(maker->op, "round_tokens") << node.name;
    }
    // A number that lies between two codes may be rounded either way, and the cache of keys and
    // values is binary16: the executors differ by less than what rounding changes.
    const at::Tensor expected = logits_of(model, kTokens).flatten();
    const at::Tensor exact = logits_of(unrounded(model), kTokens).flatten();
    const double rounding = (expected - exact).norm().item<double>();
    EXPECT_GT(rounding, 0);
    EXPECT_LT((native_logits(model) - expected).norm().item<double>(), rounding) << recipe;
  }
}

TEST(RoundedTokens, FewerBitsAreWorse) {
  TinyJob job;
  double before = 0;
  for (const int bits : {8, 6, 4, 3}) {
    CompressRequest request = request_of(job, "smoothquant");
    request.overrides.push_back(fmt::format("activations.bits={}", bits));
    SilentProgress silent;
    const double kl = compress(request, silent).quality->divergence->kl_nats.value;
    EXPECT_GT(kl, before) << bits;
    before = kl;
  }
}

TEST(RoundedTokens, TheSameBytesForAnyThreadsAndAfterAStop) {
  TinyJob job;
  CompressRequest request = request_of(job, "os-plus");
  const std::string expected = job.compressed(request);
  testing::StopAfter count;
  compress(request, count);
  request.threads = 3;
  for (const int calls : {count.calls() / 2, count.calls() - 3}) {
    testing::StopAfter stop(calls);
    EXPECT_THROW(compress(request, stop), testing::Stopped);
    EXPECT_TRUE(job.compressed(request) == expected) << calls;
  }
}

// A survey measures derivatives through the rounding.
TEST(RoundedTokens, GoWithAChoiceOfCodes) {
  TinyJob job;
  CompressRequest request = job.request;
  request.overrides.push_back("activations={per_token=true}");
  SilentProgress silent;
  const CompressReport report = compress(request, silent);
  EXPECT_GT(*report.plan.predicted_kl_nats, 0);
  EXPECT_LE(report.bpw(), 5);
}

// Scales of channels would change what is rounded, and a second rounding changes it again.
TEST(RoundedTokens, AreNotScaledOrRoundedTwice) {
  TinyJob job;
  CompressRequest first = request_of(job, "smoothquant");
  first.output = job.folder / "first.bitsmith";
  SilentProgress silent;
  compress(first, silent);
  for (const char* recipe : {"smoothquant", "os-plus", "awq"}) {
    CompressRequest request = request_of(job, recipe);
    request.model = first.output;
    EXPECT_THAT(error_of(ErrorCode::kUnsupported, [&] { compress(request, silent); }),
                HasSubstr("rounded per token already"))
        << recipe;
  }
  CompressRequest request = request_of(job, "smoothquant");
  request.model = first.output;
  request.overrides.push_back("transform=[]");
  EXPECT_THAT(error_of(ErrorCode::kUnsupported, [&] { compress(request, silent); }),
              HasSubstr("rounded per token already"));
  // Weights can have other codes.
  request = request_of(job, "gptq");
  request.model = first.output;
  compress(request, silent);
  EXPECT_EQ(std::ranges::count(open_model(request.output).graph.nodes, "round_tokens", &Node::op),
            2 * 4 + 1);
}

TEST(RoundedTokens, AreForLanguageModelsAndOwnFiles) {
  TinyJob job;
  CompressRequest request = request_of(job, "smoothquant");
  request.format = "gguf";
  request.overrides.push_back(R"(code={codec="q8_0"})");
  SilentProgress silent;
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument, [&] { compress(request, silent); }),
              HasSubstr("GGUF"));
  Model image;
  image.graph.add_input("x", {kBatch, 3});
  EXPECT_THAT(error_of(ErrorCode::kUnsupported, [&] { with_rounded_tokens(image, 8); }),
              HasSubstr("language models"));
}

}  // namespace
}  // namespace bitsmith
