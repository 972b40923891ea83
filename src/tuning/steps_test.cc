// The steps that recipes name, one after the other, as a recipe would run them.
#include "tuning/steps.h"

#include <gtest/gtest.h>

#include "tuning/tuning_testing.h"

namespace bitsmith {
namespace {

Chosen<TuningStep> step(const std::string& id, const nlohmann::json& values) {
  const TuningStep& part = Registry<TuningStep>::instance().get(id);
  return {&part, Options(part.info().options, values, id)};
}

struct Work {
  tuning_testing::Blocks blocks{480};
  TunedNetwork network{tuning_testing::make_model(1)};
  TunedNetwork teacher{tuning_testing::make_model(1)};
  ThreadPool pool{2};
  SilentProgress progress;

  TuningState state(const std::optional<Scheme>& code = {}, bool entropy_coded = false) {
    return {network, teacher,   blocks,        tuning_testing::preprocessing(),
            0,       all(code), entropy_coded, 1,
            0,       pool,      progress};
  }

  // The same code for each matrix.
  std::map<std::string, Scheme> all(const std::optional<Scheme>& code) {
    std::map<std::string, Scheme> codes;
    for (const TunedParameter* matrix : network.matrices()) {
      if (code) codes[matrix->name] = *code;
    }
    return codes;
  }
};

const nlohmann::json kTraining = {{"epochs", 2},        {"batch", 96}, {"optimizer", "adam"},
                                  {"rate", 0.003},      {"shift", 0},  {"flip", false},
                                  {"distillation", 0.5}};

nlohmann::json with(nlohmann::json values) {
  for (const auto& [key, value] : kTraining.items()) values[key] = value;
  return values;
}

std::vector<float> decoded(const TunedCodes& codes, const Shape& shape) {
  return CodedTensor{"", shape, codes.scheme, codes.bytes}.decode_all();
}

bool same(const at::Tensor& value, const std::vector<float>& numbers) {
  const at::Tensor plain = value.contiguous();
  return std::equal(numbers.begin(), numbers.end(), plain.data_ptr<float>(),
                    plain.data_ptr<float>() + plain.numel());
}

TEST(TuningSteps, EveryStepOfRecipesIsThere) {
  const auto steps = Registry<TuningStep>::instance().all();
  EXPECT_GE(steps.size(), 4u);
  for (const TuningStep* part : steps) {
    EXPECT_NO_THROW(Registry<TuningMethod>::instance().get(part->info().id));
  }
}

TEST(TuningSteps, PruneThenQuantizeEndsInCodes) {
  Work run;
  TuningState pruning = run.state();
  const auto pruned = run_tuning_step(step("prune", with({{"sparsity", 0.7}})), pruning);
  EXPECT_NEAR(static_cast<double>(pruned.density.kept), 0.3 * 1176, 2);
  TuningState coding = run.state(Scheme("focused", {{"bits", 4}}));
  const auto result = run_tuning_step(step("quantize", with({{"halvings", 2}})), coding);
  EXPECT_LE(result.density.kept, pruned.density.kept);
  ASSERT_EQ(result.codes.size(), 3u);
  uint64_t bytes = 0;
  for (const TunedParameter* matrix : run.network.matrices()) {
    const TunedCodes& codes = result.codes.at(matrix->name);
    EXPECT_TRUE(same(matrix->value(), decoded(codes, matrix->shape))) << codes.scheme.label();
    bytes += codes.bytes.size();
  }
  EXPECT_LT(bytes, 1176u * 4 / 4);
}

// Training with the codes loses less than the nearest codes of the same network.
TEST(TuningSteps, StraightThroughTrainsWhatTheCodesLose) {
  const auto loss_after = [](double epochs) {
    Work run;
    auto options = kTraining;
    options["epochs"] = epochs;
    TuningState coding = run.state(Scheme("int", {{"bits", 2}, {"group", 0}, {"symmetric", true}}));
    const auto result = run_tuning_step(step("quantize", options), coding);
    EXPECT_EQ(result.codes.size(), 3u);
    for (const TunedParameter* matrix : run.network.matrices()) {
      const TunedCodes& codes = result.codes.at(matrix->name);
      EXPECT_TRUE(same(matrix->value(), decoded(codes, matrix->shape))) << codes.scheme.label();
    }
    const TrainingImages images(run.blocks, tuning_testing::preprocessing(), run.network.input(), 0,
                                {false, 0}, 1);
    Tuner tuner(run.network, nullptr, images, run.pool);
    TuneOptions still;
    still.rate = 0;
    return tuner.train(still, 0, {}, "loss", run.progress).loss;
  };
  EXPECT_LT(loss_after(3), 0.8 * loss_after(0));
}

TEST(TuningSteps, PruneThenShareEndsInWhatTheCodebookHolds) {
  Work run;
  TuningState pruning = run.state();
  run_tuning_step(step("prune", with({{"sparsity", 0.6}})), pruning);
  const Scheme code("codebook", {{"bits", 4}, {"scope", "tensor"}, {"symbols", "codes"}});
  TuningState sharing = run.state(code, true);
  run_tuning_step(step("share", with({})), sharing);
  std::map<std::string, at::Tensor> before;
  for (const TunedParameter* matrix : run.network.matrices()) {
    before[matrix->name] = matrix->value().clone();
  }
  const auto codes = code_matrices(run.network, run.all(code), true, run.pool);
  for (const TunedParameter* matrix : run.network.matrices()) {
    const TunedCodes& own = codes.at(matrix->name);
    EXPECT_EQ(own.scheme.codec->info().id, "pruned");
    EXPECT_EQ(own.scheme.options.integer("gap_bits"), 0);  // a bitmap, for the entropy coder
    EXPECT_TRUE(same(matrix->value(), decoded(own, matrix->shape)));
    // Entries are rounded to binary16, nothing else.
    const at::Tensor difference = (matrix->value() - before.at(matrix->name)).abs();
    EXPECT_LE((difference / (before.at(matrix->name).abs() + 1e-3)).max().item<double>(), 1e-3);
  }
}

TEST(TuningSteps, BlocksArePrunedToNOfM) {
  Work run;
  TuningState state = run.state();
  run_tuning_step(step("prune", with({{"sparsity", 0.5}, {"block", 4}})), state);
  const at::Tensor kept = run.network.matrices()[1]->value().ne(0).view({8, 18, 4}).sum(2);
  EXPECT_TRUE(kept.le(2).all().item<bool>());
}

TEST(TuningSteps, SharingNeedsValuesThatAMatrixShares) {
  Work run;
  TuningState state = run.state(Scheme("int", {{"bits", 8}, {"group", 8}}));
  const std::string message = testing::error_of(
      ErrorCode::kInvalidArgument, [&] { run_tuning_step(step("share", with({})), state); });
  EXPECT_NE(message.find("scope"), std::string::npos) << message;
}

TEST(SchemeFor, TakesTheSmallestMask) {
  const Scheme code("codebook", {{"bits", 4}, {"scope", "tensor"}, {"symbols", "codes"}});
  at::Tensor value = at::ones({64, 100});
  EXPECT_EQ(scheme_for(value, code, false).codec->info().id, "codebook");
  value.narrow(1, 0, 98).fill_(0);  // one of fifty: gaps
  const Scheme few = scheme_for(value, code, false);
  EXPECT_EQ(few.codec->info().id, "pruned");
  EXPECT_GT(few.options.integer("gap_bits"), 0);
  EXPECT_EQ(scheme_for(value, code, true).options.integer("gap_bits"), 0);
  value.fill_(1).narrow(1, 0, 50).fill_(0);
  EXPECT_EQ(scheme_for(value, code, false).options.number("density"), 0.5);
}

}  // namespace
}  // namespace bitsmith
