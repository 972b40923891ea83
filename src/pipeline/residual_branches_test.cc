// Recipes with a residual, the whole way: branches in the graph, counted bytes, the same file after
// any stop, and what is refused.
#include "pipeline/residual_branches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/testing.h"
#include "evaluation/operations.h"
#include "pipeline/job.h"
#include "pipeline/pipeline_testing.h"
#include "reference/reference_testing.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using reference_testing::logits_of;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TinyJob;

CompressRequest request_of(const TinyJob& job, const std::string& recipe, int rank = 4) {
  CompressRequest request = job.request;
  request.recipe = recipe;
  request.budget = {};
  request.overrides = {"code.group=16", fmt::format("residual.rank={}", rank)};
  if (recipe == "lorc") {
    request.calibration.clear();
  } else {
    request.overrides.insert(request.overrides.end(),
                             {"calibrate.sequences=5", "calibrate.length=24"});
  }
  return request;
}

Model written(const TinyJob& job, const CompressRequest& request, CompressReport* report) {
  SilentProgress silent;
  *report = compress(request, silent);
  return open_model(job.request.output);
}

TEST(Residuals, AreBranchesOfTheWrittenGraph) {
  TinyJob job;
  const Model original = open_model(job.request.model);
  const auto layers = std::ranges::count(original.graph.nodes, "linear", &Node::op);
  for (const char* recipe : {"lorc", "svdquant"}) {
    CompressReport report;
    const Model model = written(job, request_of(job, recipe), &report);
    EXPECT_EQ(std::ranges::count(model.graph.nodes, "linear", &Node::op), 3 * layers);
    EXPECT_EQ(model.parameter_bytes(), report.tensor_bytes);
    EXPECT_EQ(report.tensor_bytes, report.plan.tensor_bytes);
    EXPECT_EQ(report.plan.weights, original.parameter_count());
    EXPECT_GT(count_operations(model).products, count_operations(original).products);
    // Both executors compute the branches.
    const std::vector<TokenId> tokens = {1, 70, 200, 33, 8, 120};
    ThreadPool pool(2);
    Executor native(model, pool, 8);
    Sequence sequence = native.make_sequence();
    const std::span<const float> got = native.run(sequence, tokens, Executor::Logits::kAll);
    const at::Tensor expected = logits_of(model, tokens).flatten().contiguous();
    const at::Tensor own = at::tensor(at::ArrayRef<float>(got.data(), got.size()));
    // The native executor rounds activations to 8 bits.
    EXPECT_LT(((own - expected).norm() / expected.norm()).item<double>(), 0.05) << recipe;
  }
}

// The error that is reported is that of codes and branch, and falls with rank.
TEST(Residuals, ReportedErrorsFallWithRank) {
  TinyJob job;
  std::vector<double> before;
  for (const int rank : {1, 8, 24}) {
    CompressReport report;
    written(job, request_of(job, "lorc", rank), &report);
    std::vector<double> errors;
    for (const MatrixReport& row : report.matrices) {
      const bool beside = row.role.ends_with(".low_rank");
      EXPECT_EQ(row.relative_mse.has_value(), !beside) << row.name;
      if (!beside && row.role != "embedding") errors.push_back(*row.relative_mse);
    }
    for (size_t i = 0; i < before.size(); ++i) EXPECT_LT(errors[i], before[i]);
    before = errors;
  }
}

TEST(Residuals, TheSameBytesForAnyThreadsAndAfterAnyStop) {
  TinyJob job;
  for (const char* recipe : {"lorc", "lq-lora"}) {
    CompressRequest request = request_of(job, recipe);
    request.overrides.push_back("residual.rounds=1");
    const std::string expected = job.compressed(request);
    testing::StopAfter count;
    compress(request, count);
    request.threads = 3;
    for (const int calls : {count.calls() / 3, 2 * count.calls() / 3, count.calls() - 3}) {
      testing::StopAfter stop(calls);
      EXPECT_THROW(compress(request, stop), testing::Stopped);
      EXPECT_TRUE(job.compressed(request) == expected) << recipe << calls;
    }
  }
}

TEST(Residuals, StandBehindTransforms) {
  TinyJob job(json{{"tie_word_embeddings", true}});
  CompressRequest request = request_of(job, "svdquant");
  request.overrides.push_back(R"(transform=[{id="rotate"}])");
  CompressReport report;
  const Model model = written(job, request, &report);
  EXPECT_GT(std::ranges::count(model.graph.nodes, "hadamard", &Node::op), 0);
  EXPECT_GT(report.quality->divergence->kl_nats.value, 0);
  // The tied head has no matrix of its own.
  for (const Node& node : model.graph.nodes) {
    EXPECT_FALSE(node.name.starts_with("lm_head.low_rank")) << node.name;
  }
}

// A layer that has the recipe's code already stays as it is, bit for bit: a branch has nothing to
// add.
TEST(Residuals, AddNothingToLayersThatHaveTheCode) {
  TinyJob job;
  CompressRequest first = job.request;
  first.recipe = "gptq";
  first.overrides = {"code.group=16", "calibrate.sequences=5", "calibrate.length=24"};
  first.budget = {};
  first.output = job.folder / "first.bitsmith";
  SilentProgress silent;
  compress(first, silent);
  const Model before = open_model(first.output);
  for (const char* recipe : {"lorc", "svdquant"}) {
    CompressRequest request = request_of(job, recipe);
    request.model = first.output;
    // Of every layer, and of some.
    for (const char* except : {"", "ends"}) {
      if (*except != 0) request.overrides.push_back(R"(except=[{layers="ends", bits=2}])");
      const CompressReport report = compress(request, silent);
      const Model after = open_model(request.output);
      int kept = 0;
      for (const MatrixReport& row : report.matrices) {
        if (!before.parameters.contains(row.name)) continue;
        const bool same =
            std::ranges::equal(after.parameter(row.name).bytes, before.parameter(row.name).bytes);
        EXPECT_EQ(same, row.relative_mse == 0) << row.name;
        if (!same) continue;
        ++kept;
        for (const char* part : {"up", "down"}) {
          const std::string name = fmt::format("{}.low_rank_{}", row.name, part);
          if (!after.parameters.contains(name)) continue;
          EXPECT_THAT(after.parameter(name).decode_all(), ::testing::Each(0.0F)) << name;
        }
      }
      EXPECT_EQ(kept, *except != 0 ? 14 : 16) << recipe;
    }
  }
}

TEST(Residuals, RefuseASecondBranch) {
  TinyJob job;
  CompressRequest request = request_of(job, "svdquant");
  request.output = job.folder / "first.bitsmith";
  SilentProgress silent;
  compress(request, silent);
  request = request_of(job, "lorc");
  request.model = job.folder / "first.bitsmith";
  EXPECT_THAT(error_of(ErrorCode::kUnsupported, [&] { compress(request, silent); }),
              ::testing::AllOf(HasSubstr("low_rank"), HasSubstr("has a branch already"),
                               HasSubstr("compress the model that it was made from")));
  EXPECT_FALSE(std::filesystem::exists(job.partial()));
}

// The bases of the search take more the more directions are wanted.
TEST(Residuals, AreInTheEstimateOfMemory) {
  TinyJob job;
  const auto needed = [&](const std::vector<std::string>& overrides) {
    CompressRequest request = request_of(job, "lorc");
    request.overrides.insert(request.overrides.end(), overrides.begin(), overrides.end());
    return Job(request).memory(nullptr, false).fixed_bytes;
  };
  EXPECT_LT(needed({"residual.rank=1"}), needed({"residual.rank=4"}));
  EXPECT_LT(needed({"residual.rank=4"}), needed({"residual.rank=24"}));
}

TEST(Residuals, RefuseWhatDoesNotGoWithThem) {
  TinyJob job;
  const auto refusal = [&](const std::vector<std::string>& overrides, const Budget& budget = {},
                           const std::string& format = "bitsmith") {
    CompressRequest request = request_of(job, "lorc");
    request.overrides.insert(request.overrides.end(), overrides.begin(), overrides.end());
    request.budget = budget;
    request.format = format;
    SilentProgress silent;
    return error_of(ErrorCode::kInvalidArgument, [&] { compress(request, silent); });
  };
  EXPECT_THAT(refusal({"code.bits=[2, 4]"}), HasSubstr("beside one code"));
  EXPECT_THAT(refusal({}, {4.0, std::nullopt}), HasSubstr("leave out --bits"));
  EXPECT_THAT(refusal({R"(activations={sigmas=4})"}), HasSubstr("[activations]"));
  EXPECT_THAT(refusal({R"(code={codec="q4_0"})"}, {}, "gguf"), HasSubstr("GGUF"));
  EXPECT_THAT(refusal({"residual.whitened=true"}),
              ::testing::AllOf(HasSubstr("whitened"), HasSubstr("--imatrix")));
}

}  // namespace
}  // namespace bitsmith
