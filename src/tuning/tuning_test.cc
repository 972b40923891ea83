// Fine-tuning: gradients, determinism, what pruning, incremental quantization and shared values do.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "tuning/coding.h"
#include "tuning/pruning.h"
#include "tuning/tuner.h"
#include "tuning/tuning_testing.h"

namespace bitsmith {
namespace {

using tuning_testing::Blocks;
using tuning_testing::make_model;
using tuning_testing::preprocessing;

TuneOptions options(double epochs = 2) {
  TuneOptions result;
  result.epochs = epochs;
  result.batch = 96;
  result.rate = 0.01;
  return result;
}

struct Training {
  Blocks blocks{480};
  TunedNetwork network{make_model(1)};
  TrainingImages images{blocks, preprocessing(), network.input(), 0, {}, 1};

  TuneResult train(const TuneOptions& how, const Tuner::BeforeStep& before = {}, int threads = 2,
                   const TunedNetwork* teacher = nullptr) {
    ThreadPool pool(threads);
    SilentProgress progress;
    return Tuner(network, teacher, images, pool).train(how, 0, before, "test", progress);
  }
};

std::vector<float> all_values(const TunedNetwork& network) {
  std::vector<float> result;
  for (const TunedParameter& parameter : network.parameters()) {
    const at::Tensor value = parameter.value().contiguous();
    result.insert(result.end(), value.data_ptr<float>(), value.data_ptr<float>() + value.numel());
  }
  return result;
}

TEST(TunedNetwork, FoldsNormsAndLeavesOutTheSoftmax) {
  const TunedNetwork network(make_model(1));
  for (const Node& node : network.graph().nodes) {
    EXPECT_NE(node.op, "batch_norm");
    EXPECT_NE(node.op, "softmax");
  }
  int matrices = 0;
  for (const TunedParameter& parameter : network.parameters()) matrices += parameter.is_matrix;
  EXPECT_EQ(matrices, 3);
  EXPECT_EQ(network.parameters().size(), 6u);
}

TEST(Tuner, LearnsAndIsTheSameForAnyNumberOfThreads) {
  for (const auto kind : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    std::vector<float> expected;
    for (const int threads : {1, 2, 3}) {
      Training setup;
      TuneOptions how = options(6);
      how.optimizer = kind;
      how.rate = kind == OptimizerKind::kSgd ? 0.01 : 0.003;
      const TuneResult result = setup.train(how, {}, threads);
      EXPECT_EQ(result.steps, 30);
      EXPECT_GT(result.accuracy, 0.9);
      if (threads == 1) expected = all_values(setup.network);
      EXPECT_EQ(all_values(setup.network), expected) << threads;
    }
  }
}

TEST(Tuner, LearnsInBfloat16WithTheSameNumbersForAnyThreads) {
  const TunedNetwork teacher(make_model(2));
  TuneOptions how = options(6);
  how.optimizer = OptimizerKind::kAdam;
  how.rate = 0.003;
  how.bfloat16 = true;
  how.distillation = 0.2;
  Training one;
  EXPECT_GT(one.train(how, {}, 1, &teacher).accuracy, 0.9);
  Training three;
  three.train(how, {}, 3, &teacher);
  EXPECT_EQ(all_values(one.network), all_values(three.network));
  // What is trained is not rounded.
  const std::vector<float> values = all_values(one.network);
  EXPECT_TRUE(std::ranges::any_of(
      values, [](float x) { return (std::bit_cast<uint32_t>(x) & 0xffffU) != 0; }));
}

TEST(Tuner, DistillationBringsTheTeachersLogits) {
  const TunedNetwork teacher(make_model(2));
  Training setup;
  TuneOptions how = options(6);
  how.distillation = 1;
  how.optimizer = OptimizerKind::kAdam;
  how.rate = 0.01;
  double first = 0;
  {
    Training untrained;
    TuneOptions once = how;
    once.epochs = 0.2;
    once.rate = 1e-12;
    first = untrained.train(once, {}, 2, &teacher).loss;
  }
  const double last = setup.train(how, {}, 2, &teacher).loss;
  EXPECT_GT(first, 0);
  EXPECT_LT(last, 0.2 * first);
  // A network that already is its teacher stays.
  Training same;
  const TunedNetwork itself(make_model(1));
  how.optimizer = OptimizerKind::kSgd;
  const double nothing = same.train(how, {}, 2, &itself).loss;
  EXPECT_NEAR(nothing, 0, 1e-6);
}

TEST(Tuner, RefusesBadLabelsAndDivergence) {
  Training setup;
  TuneOptions how = options(5);
  how.rate = 1e6;
  const std::string message =
      testing::error_of(ErrorCode::kInvalidArgument, [&] { setup.train(how); });
  EXPECT_NE(message.find("learning rate"), std::string::npos) << message;
  const Blocks unlabelled(10, false);
  testing::error_of(ErrorCode::kInvalidArgument, [&] {
    TrainingImages(unlabelled, preprocessing(), setup.network.input(), 0, {}, 1);
  });
  const TrainingImages shifted(setup.blocks, preprocessing(), setup.network.input(), 1, {}, 1);
  ThreadPool pool(1);
  SilentProgress progress;
  Tuner tuner(setup.network, nullptr, shifted, pool);
  const std::string classes = testing::error_of(
      ErrorCode::kInvalidArgument, [&] { tuner.train(options(), 0, {}, "test", progress); });
  EXPECT_NE(classes.find("3 classes"), std::string::npos) << classes;
}

TEST(TrainingImages, AugmentationMovesAndMirrors) {
  const Blocks blocks(12);
  const Shape input = {kBatch, 3, 8, 8};
  const TrainingImages plain(blocks, preprocessing(), input, 0, {}, 1);
  const TrainingImages moved(blocks, preprocessing(), input, 0, {true, 2}, 1);
  const auto order = plain.order(4);
  EXPECT_NE(order, plain.order(5));
  auto sorted = order;
  std::ranges::sort(sorted);
  for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(sorted[static_cast<size_t>(i)], i);
  const Shard a = plain.shard(4, order, 0, 12);
  const Shard b = moved.shard(4, order, 0, 12);
  EXPECT_TRUE(a.labels.equal(b.labels));
  int mirrored = 0;
  for (int64_t i = 0; i < 12; ++i) {
    // Each image is one of 2 x 25 of the plain one.
    bool found = false;
    for (const bool flip : {false, true}) {
      const at::Tensor source = flip ? a.inputs[i].flip({2}) : a.inputs[i];
      const at::Tensor padded = at::constant_pad_nd(source, {2, 2, 2, 2}, 0);
      for (int64_t y = 0; y < 5; ++y) {
        for (int64_t x = 0; x < 5; ++x) {
          if (!padded.narrow(1, y, 8).narrow(2, x, 8).equal(b.inputs[i])) continue;
          found = true;
          mirrored += flip;
        }
      }
    }
    EXPECT_TRUE(found) << i;
  }
  EXPECT_GT(mirrored, 0);
  EXPECT_LT(mirrored, 12);
  // The same shard whatever it is cut from.
  EXPECT_TRUE(moved.shard(4, order, 5, 3).inputs.equal(b.inputs.narrow(0, 5, 3)));
}

// The derivative by a shared number is the sum over its weights: against central differences.
TEST(TunedParameter, GradientOfSharedNumbersIsTheSumOverTheirWeights) {
  Training setup;
  TunedParameter& matrix = *setup.network.matrices()[1];
  matrix.numbers = at::round(matrix.numbers * 4) / 4;
  EXPECT_LE(share_values(matrix), 10);
  const auto order = setup.images.order(0);
  const Shard shard = setup.images.shard(0, order, 0, 32);
  const auto loss_of = [&] {
    std::vector<at::Tensor> values = present_values(setup.network);
    for (at::Tensor& value : values) value.set_requires_grad(true);
    const at::Tensor loss =
        at::cross_entropy_loss(network_logits(setup.network, values, shard.inputs), shard.labels);
    return std::pair(loss, torch::autograd::grad({loss}, values));
  };
  size_t index = 0;
  while (&setup.network.parameters()[index] != &matrix) ++index;
  const at::Tensor gradient = matrix.gradient(loss_of().second[index]);
  ASSERT_EQ(gradient.sizes(), matrix.numbers.sizes());
  for (int64_t k = 0; k < matrix.numbers.numel(); ++k) {
    constexpr float kStep = 1e-2F;
    float* number = matrix.numbers.data_ptr<float>() + k;
    const float before = *number;
    *number = before + kStep;
    const double above = loss_of().first.item<double>();
    *number = before - kStep;
    const double below = loss_of().first.item<double>();
    *number = before;
    const double expected = (above - below) / (2 * static_cast<double>(kStep));
    EXPECT_NEAR(gradient[k].item<double>(), expected, 0.02 * std::fabs(expected) + 2e-3) << k;
  }
}

TEST(Pruning, ScheduleIsCubic) {
  PruneOptions how;
  how.sparsity = 0.8;
  how.begin = 0.25;
  how.end = 0.75;
  EXPECT_EQ(sparsity_at(how, 0, 100), 0);
  EXPECT_EQ(sparsity_at(how, 25, 100), 0);
  EXPECT_DOUBLE_EQ(sparsity_at(how, 50, 100), 0.8 * (1 - 0.125));
  EXPECT_EQ(sparsity_at(how, 75, 100), 0.8);
  EXPECT_EQ(sparsity_at(how, 100, 100), 0.8);
}

TEST(Pruning, RemovesTheShareThatWasAsked) {
  for (const auto scope : {PruneScope::kLayer, PruneScope::kGlobal, PruneScope::kLamp}) {
    TunedNetwork network(make_model(1));
    PruneOptions how;
    how.scope = scope;
    prune(network, 0.7, how);
    const Density density = density_of(network);
    EXPECT_EQ(density.weights, 8 * 27 + 8 * 72 + 3 * 128);
    EXPECT_NEAR(static_cast<double>(density.kept), 0.3 * static_cast<double>(density.weights), 2);
    for (const TunedParameter* matrix : network.matrices()) {
      // What is kept is larger than what is not, within a matrix.
      const at::Tensor kept = matrix->numbers.abs().masked_select(matrix->held.logical_not());
      const at::Tensor pruned = matrix->numbers.abs().masked_select(matrix->held);
      EXPECT_GE(kept.min().item<float>(), pruned.max().item<float>());
    }
  }
}

TEST(Pruning, LampIsItsDefinition) {
  TunedNetwork network(make_model(1));
  PruneOptions how;
  prune(network, 0.5, how);
  // The scores of all kept weights are above those of all pruned ones.
  double least_kept = 1e9;
  double most_pruned = 0;
  for (const TunedParameter* matrix : network.matrices()) {
    const at::Tensor w = matrix->numbers.flatten().to(at::kDouble).square();
    const at::Tensor held = matrix->held.flatten();
    for (int64_t i = 0; i < w.numel(); ++i) {
      const double own = w[i].item<double>();
      const double score = own / w.masked_select(w.ge(own)).sum().item<double>();
      if (held[i].item<bool>()) {
        most_pruned = std::max(most_pruned, score);
      } else {
        least_kept = std::min(least_kept, score);
      }
    }
  }
  EXPECT_GT(least_kept, most_pruned * (1 - 1e-9));
}

TEST(Pruning, BlocksKeepNOfM) {
  TunedNetwork network(make_model(1));
  PruneOptions how;
  how.block = 4;
  prune(network, 0.5, how);
  const TunedParameter& matrix = *network.matrices()[1];  // 8 rows of 72
  const at::Tensor kept = matrix.value().ne(0).view({8, 18, 4}).sum(2);
  EXPECT_TRUE(kept.eq(2).all().item<bool>());
}

TEST(Pruning, PrunedWeightsComeBackOnlyWithRegrowth) {
  for (const bool regrow : {false, true}) {
    Training setup;
    PruneOptions how;
    how.sparsity = 0.6;
    how.regrow = regrow;
    prune(setup.network, 0.6, how);
    const at::Tensor before = setup.network.matrices()[1]->held.clone();
    setup.train(options(4), [&](int64_t done, int64_t) {
      if (done % 2 == 0) prune(setup.network, 0.6, how);
    });
    const at::Tensor after = setup.network.matrices()[1]->held;
    const auto back = before.logical_and(after.logical_not()).sum().item<int64_t>();
    EXPECT_EQ(back > 0, regrow) << back;
    EXPECT_NEAR(static_cast<double>(density_of(setup.network).kept), 0.4 * 1176, 2);
  }
}

TEST(WeightQuantizer, HoldsAShareAndEndsWithWhatTheBytesDecodeTo) {
  ThreadPool pool(2);
  for (const Scheme& scheme :
       {Scheme("int", {{"bits", 3}, {"group", 16}, {"symmetric", true}}),
        Scheme("pot", {{"bits", 4}, {"group", 0}}), Scheme("focused", {{"bits", 4}}),
        Scheme("vector", {{"dim", 3}, {"bits", 5}})}) {
    Training setup;
    std::map<std::string, Scheme> schemes;
    for (const TunedParameter* matrix : setup.network.matrices()) schemes[matrix->name] = scheme;
    WeightQuantizer quantizer(setup.network, schemes, 10, pool);
    at::Tensor held_before;
    at::Tensor value_before;
    for (const double share : {0.5, 0.75, 1.0}) {
      quantizer.hold_share(share, pool);
      const TunedParameter& matrix = *setup.network.matrices()[1];
      EXPECT_NEAR(static_cast<double>(matrix.held_count()), share * 576, 3);
      const at::Tensor value = matrix.value();
      // What was held has not moved.
      if (held_before.defined()) {
        EXPECT_TRUE(value.masked_select(held_before).equal(value_before.masked_select(held_before)))
            << scheme.label();
      }
      held_before = matrix.held.clone();
      value_before = value.clone();
      if (share < 1) setup.train(options(1));
    }
    for (const TunedParameter* matrix : setup.network.matrices()) {
      const CodedMatrix& coded = quantizer.matrices().at(matrix->name);
      const std::vector<std::byte> bytes = coded.bytes();
      const CodedTensor tensor{matrix->name, matrix->shape, coded.scheme(), bytes};
      const std::vector<float> decoded = tensor.decode_all();
      const at::Tensor value = matrix->value().contiguous();
      EXPECT_TRUE(std::equal(decoded.begin(), decoded.end(), value.data_ptr<float>()))
          << scheme.label();
    }
  }
}

TEST(ShareValues, TuningKeepsTheSharing) {
  Training setup;
  TunedParameter& matrix = *setup.network.matrices()[1];
  prune(setup.network, 0.5, {});
  const at::Tensor pruned = matrix.value().eq(0);
  matrix.numbers = at::round(matrix.numbers * 8) / 8;
  const int64_t numbers = share_values(matrix);
  const at::Tensor codes = matrix.codes.clone();
  const at::Tensor before = matrix.value().clone();
  setup.train(options(2));
  EXPECT_TRUE(matrix.codes.equal(codes));
  EXPECT_EQ(matrix.numbers.numel(), numbers);
  EXPECT_FALSE(matrix.value().equal(before));
  EXPECT_TRUE(matrix.value().masked_select(pruned).eq(0).all().item<bool>());
}

}  // namespace
}  // namespace bitsmith
