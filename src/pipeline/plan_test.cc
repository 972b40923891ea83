// Plans: which matrices there are, what they may be coded with, and budgets to the byte.
#include "pipeline/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "pipeline/job.h"
#include "pipeline/pipeline_testing.h"

namespace bitsmith {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TinyJob;

uint64_t smallest_bytes(const Job& job) {
  uint64_t bytes = untouched_bytes(job.model, job.tasks);
  for (const MatrixTask& task : job.tasks) bytes += *std::ranges::min_element(task.bytes);
  return bytes;
}

TEST(FindMatrices, ListsEachOnceWithItsUsesAndExactSizes) {
  for (const bool tied : {false, true}) {
    const TinyJob tiny(nlohmann::json{{"tie_word_embeddings", tied}});
    const Job job(tiny.request);
    ASSERT_EQ(job.tasks.size(), tied ? 15u : 16u);
    uint64_t bytes = untouched_bytes(job.model, job.tasks);
    EXPECT_EQ(bytes, 5 * 32 * 2u);  // the norms
    for (const MatrixTask& task : job.tasks) {
      SCOPED_TRACE(task.tensor->name);
      const bool table = task.tensor->name == "model.embed_tokens.weight";
      ASSERT_EQ(task.uses.size(), table && tied ? 2u : 1u);
      EXPECT_EQ(task.linear(), !table);
      for (const MatrixUse& use : task.uses) {
        EXPECT_EQ(job.model.graph.nodes[use.node].inputs[1], task.id);
        EXPECT_GE(use.node, job.blocks[use.block].begin);
        EXPECT_LT(use.node, job.blocks[use.block].end);
      }
      if (task.uses.size() == 2) {
        EXPECT_TRUE(task.uses[0].table);
        EXPECT_FALSE(task.uses[1].table);
        EXPECT_EQ(task.uses[1].block + 1, job.blocks.size());
        EXPECT_EQ(solver_for(job.recipe, task).part, job.recipe.matrix_solver.part);
      } else {
        EXPECT_EQ(solver_for(job.recipe, task).part,
                  table ? job.recipe.table_solver.part : job.recipe.matrix_solver.part);
      }
      // The recipe's candidates, then the tensor as it is.
      ASSERT_EQ(task.schemes.size(), job.recipe.candidates.size() + 1);
      ASSERT_EQ(task.bytes.size(), task.schemes.size());
      EXPECT_EQ(task.schemes.back().to_json(), task.tensor->scheme.to_json());
      for (size_t s = 0; s < task.schemes.size(); ++s) {
        EXPECT_EQ(task.bytes[s],
                  task.schemes[s].codec->encoded_bytes(task.shape(), task.schemes[s].options));
      }
      bytes += task.bytes.back();
    }
    EXPECT_EQ(bytes, job.model.parameter_bytes());
  }
}

// Any losses will do for what a budget must hold.
Survey made_up_survey(const Job& job) {
  Survey survey;
  Random random(3);
  for (const MatrixTask& task : job.tasks) {
    survey.losses.emplace_back();
    for (size_t s = 0; s + 1 < task.schemes.size(); ++s) {
      survey.losses.back().push_back(random.uniform() / static_cast<double>(task.bytes[s]));
    }
    survey.losses.back().push_back(0);
  }
  return survey;
}

TEST(MakePlan, NeverExceedsTheBudgetAndKnowsItsBytes) {
  for (const char* allocator : {"knapsack", "uniform"}) {
    TinyJob tiny;
    tiny.request.overrides.push_back(fmt::format("allocate={{id='{}'}}", allocator));
    const Job job(tiny.request);
    const Survey survey = made_up_survey(job);
    const uint64_t smallest = smallest_bytes(job);
    const uint64_t largest = job.model.parameter_bytes();
    Random random(1);
    for (int i = 0; i < 60; ++i) {
      // The bounds themselves, then anything between.
      uint64_t budget = i == 0 ? smallest : i == 1 ? largest : smallest + random.below(largest);
      Plan plan;
      try {
        plan = make_plan(job.model, job.tasks, job.recipe, budget, &survey);
      } catch (const Error& error) {
        // One scheme for all cannot always meet what the smallest of each could.
        ASSERT_EQ(error.code(), ErrorCode::kImpossibleBudget) << error.what();
        ASSERT_STREQ(allocator, "uniform");
        continue;
      }
      ASSERT_LE(plan.tensor_bytes, budget);
      uint64_t bytes = untouched_bytes(job.model, job.tasks);
      double loss = 0;
      ASSERT_EQ(plan.picks.size(), job.tasks.size());
      for (size_t t = 0; t < job.tasks.size(); ++t) {
        bytes += job.tasks[t].bytes[plan.picks[t]];
        loss += survey.losses[t][plan.picks[t]];
      }
      EXPECT_EQ(plan.tensor_bytes, bytes);
      EXPECT_EQ(*plan.predicted_kl_nats, loss);
      EXPECT_EQ(plan.original_bytes, largest);
      EXPECT_EQ(plan.bpw(), 8 * static_cast<double>(bytes) / static_cast<double>(plan.weights));
      EXPECT_TRUE(budget < largest || loss == 0);  // everything may stay as it is
    }
  }
}

TEST(MakePlan, TheIntegerProgrammeIsNoWorseThanOneSchemeForAll) {
  TinyJob tiny;
  const Job knapsack(tiny.request);
  CompressRequest request = tiny.request;
  request.overrides.push_back("allocate={id='uniform'}");
  const Job uniform(request);
  const Survey survey = made_up_survey(knapsack);
  for (const double bits : {3.2, 4.0, 5.0, 6.5, 9.0}) {
    const auto budget = parameter_budget(knapsack.model, {bits, std::nullopt}, 0);
    const Plan best = make_plan(knapsack.model, knapsack.tasks, knapsack.recipe, budget, &survey);
    const Plan plain = make_plan(uniform.model, uniform.tasks, uniform.recipe, budget, &survey);
    EXPECT_LE(*best.predicted_kl_nats, *plain.predicted_kl_nats * (1 + 1e-9)) << bits;
  }
}

TEST(ParameterBudget, IsWhatWasAskedFor) {
  const TinyJob tiny;
  const Job job(tiny.request);
  const auto weights = static_cast<uint64_t>(job.model.parameter_count());
  EXPECT_EQ(parameter_budget(job.model, {}, 1000), std::nullopt);
  EXPECT_EQ(parameter_budget(job.model, {4.0, std::nullopt}, 1000), weights / 2);
  EXPECT_EQ(parameter_budget(job.model, {std::nullopt, 50000}, 1000), 49000u);
  for (const double bits : {0.0, -3.0, 65.0, double{NAN}, double{INFINITY}}) {
    EXPECT_THAT(error_of(ErrorCode::kInvalidArgument,
                         [&] {
                           parameter_budget(job.model, {bits, std::nullopt}, 1000);
                         }),
                HasSubstr(fmt::format("{} bits per weight", bits)));
  }
  EXPECT_THAT(error_of(ErrorCode::kImpossibleBudget,
                       [&] {
                         parameter_budget(job.model, {std::nullopt, 1000}, 1000);
                       }),
              AllOf(HasSubstr("1000 bytes"), HasSubstr("metadata alone take 1000")));
}

TEST(CheckBudget, AnImpossibleOneNamesTheSmallestAndThatOneWorks) {
  const TinyJob tiny;
  const Job job(tiny.request);
  const std::string message = error_of(ErrorCode::kImpossibleBudget, [&] {
    job.check_budget({1.0, std::nullopt});
  });
  std::smatch found;
  ASSERT_TRUE(
      std::regex_search(message, found,
                        std::regex("is ([0-9]+) bytes: ask for at least --bits ([0-9.]+) or --size "
                                   "([0-9]+)B")))
      << message;
  const uint64_t smallest = std::stoull(found[1]);
  EXPECT_EQ(smallest, smallest_bytes(job));
  const double bits = std::stod(found[2]);
  const uint64_t size = std::stoull(found[3]);
  EXPECT_NO_THROW(job.check_budget({bits, std::nullopt}));
  EXPECT_NO_THROW(job.check_budget({std::nullopt, size}));
  EXPECT_THROW(job.check_budget({bits - 0.002, std::nullopt}), Error);
  EXPECT_THROW(job.check_budget({std::nullopt, size - 1}), Error);
  const Survey survey = made_up_survey(job);
  const auto planned_bytes = [&](const Budget& budget) {
    return make_plan(job.model, job.tasks, job.recipe,
                     parameter_budget(job.model, budget, job.overhead_bytes), &survey)
        .tensor_bytes;
  };
  EXPECT_EQ(planned_bytes({bits, std::nullopt}), smallest);
  EXPECT_EQ(planned_bytes({std::nullopt, size}), smallest);
}

TEST(CheckBudget, AChoiceNeedsOne) {
  TinyJob tiny;
  const Job job(tiny.request);
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument, [&] { job.check_budget({}); }),
              AllOf(HasSubstr("6 ways"), HasSubstr("--bits"), HasSubstr("--size")));
  CompressRequest request = tiny.request;
  request.recipe = "nearest";
  request.overrides = {};
  request.calibration.clear();
  EXPECT_NO_THROW(Job(request).check_budget({}));
  request.overrides = {"code.bits=[4, 8]"};
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument, [&] { Job{request}; }),
              HasSubstr("no [calibrate] section"));
}

TEST(Job, RefusesWhatCannotBeDoneBeforeAnyWork) {
  TinyJob tiny;
  CompressRequest request = tiny.request;
  request.device = "abacus";
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument, [&] { Job{request}; }), HasSubstr("'abacus'"));
  request = tiny.request;
  request.model = tiny.folder / "nowhere";
  EXPECT_THAT(error_of(ErrorCode::kNotFound, [&] { Job{request}; }), HasSubstr("nowhere"));
  request = tiny.request;
  request.recipe = "nearest";
  request.overrides = {};
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument, [&] { Job{request}; }),
              HasSubstr("'nearest' reads no calibration text"));
}

TEST(Job, TheKeyChangesWithEverythingThatChangesTheBytes) {
  TinyJob tiny;
  std::vector<nlohmann::json> keys;
  const auto add = [&](const CompressRequest& request) { keys.push_back(Job(request).key()); };
  const CompressRequest& request = tiny.request;
  add(request);
  CompressRequest other = request;
  other.threads = 7;
  other.ram_bytes = 1;
  other.output = tiny.folder / "elsewhere";
  EXPECT_EQ(Job(other).key(), keys[0]);  // these change no byte
  other = request;
  other.budget.bits = 4.5;
  add(other);
  other.budget = {std::nullopt, 30000};
  add(other);
  other = request;
  other.seed = 2;
  add(other);
  other = request;
  other.overrides.push_back("solve.matrices.damping=0.02");
  add(other);
  other = request;
  other.calibration = "";
  add(other);
  testing::write_bytes(tiny.folder / "other.txt", testing::random_text(300));
  other.calibration = tiny.folder / "other.txt";
  add(other);
  testing::write_bytes(tiny.folder / "model" / "tokenizer.json",
                       testing::byte_tokenizer() + "\n");  // another text of other tokens
  add(request);
  testing::write_tiny_model(tiny.folder / "model", {{"rms_norm_eps", 1e-6}});
  add(request);
  for (size_t i = 0; i < keys.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(keys[i], keys[j]) << i << ", " << j;
  }
}

}  // namespace
}  // namespace bitsmith
