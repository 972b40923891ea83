#include "tuning/tuner.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/interrupt.h"
#include "reference/executor.h"

namespace bitsmith {
namespace {

double rate_at(const TuneOptions& options, int64_t step, int64_t steps) {
  const double share = (static_cast<double>(step) + 0.5) / static_cast<double>(steps);
  if (share < options.warmup) return options.rate * share / options.warmup;
  const double t = (share - options.warmup) / (1 - options.warmup);
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * t));
  return options.rate * (options.final_rate + (1 - options.final_rate) * cosine);
}

// One step of the optimizer on one parameter; `step` counts from 1.
void update(TunedParameter& p, const at::Tensor& gradient, const TuneOptions& options, double rate,
            int64_t step) {
  if (options.optimizer == OptimizerKind::kSgd) {
    p.first_moment.mul_(options.momentum).add_(gradient);
    if (p.is_matrix) p.numbers.mul_(1 - rate * options.weight_decay);
    p.numbers.sub_(gradient + options.momentum * p.first_moment, rate);
    return;
  }
  constexpr double kFirst = 0.9;
  constexpr double kSecond = 0.999;
  constexpr double kEpsilon = 1e-8;
  p.first_moment.mul_(kFirst).add_(gradient, 1 - kFirst);
  p.second_moment.mul_(kSecond).addcmul_(gradient, gradient, 1 - kSecond);
  const double first = 1 - std::pow(kFirst, static_cast<double>(step));
  const double second = 1 - std::pow(kSecond, static_cast<double>(step));
  const at::Tensor deviation = (p.second_moment / second).sqrt_().add_(kEpsilon);
  if (p.is_matrix) p.numbers.mul_(1 - rate * options.weight_decay);
  p.numbers.addcdiv_(p.first_moment, deviation, -rate / first);
}

}  // namespace

at::Tensor network_logits(const TunedNetwork& network, const std::vector<at::Tensor>& values,
                          const at::Tensor& inputs) {
  const Graph& graph = network.graph();
  std::vector<size_t> position(graph.values.size(), 0);
  for (size_t i = 0; i < network.parameters().size(); ++i) {
    position[static_cast<size_t>(network.parameters()[i].id)] = i;
  }
  Environment environment(graph.values.size());
  environment[static_cast<size_t>(graph.inputs[0])] =
      inputs.dim() == 4 ? inputs.contiguous(at::MemoryFormat::ChannelsLast) : inputs;
  run_reference(
      graph, 0, graph.nodes.size(),
      [&](ValueId id) { return values[position[static_cast<size_t>(id)]]; }, environment);
  return environment[static_cast<size_t>(graph.outputs[0])].flatten(1);
}

std::vector<at::Tensor> present_values(const TunedNetwork& network) {
  std::vector<at::Tensor> values;
  for (const TunedParameter& parameter : network.parameters()) {
    const at::Tensor value = parameter.value().detach();
    values.push_back(value.dim() == 4 ? value.contiguous(at::MemoryFormat::ChannelsLast)
                                      : value.clone());
  }
  return values;
}

Tuner::Tuner(TunedNetwork& network, const TunedNetwork* teacher, const TrainingImages& images,
             ThreadPool& pool)
    : network_(network), teacher_(teacher), images_(images), pool_(pool) {}

Tuner::ShardGradient Tuner::gradient_of(const Shard& shard, const std::vector<at::Tensor>& values,
                                        const std::vector<at::Tensor>& teacher_values,
                                        const TuneOptions& options, int64_t batch) const {
  const at::ScalarType type = options.bfloat16 ? at::kBFloat16 : at::kFloat;
  std::vector<at::Tensor> working;
  for (const at::Tensor& value : values) working.push_back(value.to(type));
  const at::Tensor inputs = shard.inputs.to(type);
  const at::Tensor logits = network_logits(network_, working, inputs).to(at::kFloat);
  if (shard.labels.max().item<int64_t>() >= logits.size(1)) {
    fail(ErrorCode::kInvalidArgument, "a label is {}, the network has {} classes (--label-offset?)",
         shard.labels.max().item<int64_t>(), logits.size(1));
  }
  const double t = options.temperature;
  at::Tensor loss = at::zeros({});
  if (options.distillation < 1) {
    const at::Tensor own = at::cross_entropy_loss(logits, shard.labels, {}, at::Reduction::Sum);
    loss = loss + (1 - options.distillation) * own;
  }
  if (options.distillation > 0) {
    at::Tensor expected;
    {
      const at::NoGradGuard no_grad;
      const at::Tensor of_teacher = network_logits(*teacher_, teacher_values, inputs);
      expected = at::log_softmax(of_teacher.to(at::kFloat) / t, 1);
    }
    const at::Tensor difference = expected - at::log_softmax(logits / t, 1);
    loss = loss + options.distillation * t * t * (expected.exp() * difference).sum();
  }
  ShardGradient result;
  result.loss = loss.item<double>();
  result.correct = logits.argmax(1).eq(shard.labels).sum().item<int64_t>();
  result.gradients =
      torch::autograd::grad({loss / static_cast<double>(batch)}, values, {}, c10::nullopt, false,
                            /*allow_unused=*/true);
  return result;
}

TuneResult Tuner::train(const TuneOptions& options, int64_t first_epoch,
                        const BeforeStep& before_step, const std::string& phase,
                        Progress& progress) {
  BITSMITH_ASSERT(options.distillation == 0 || teacher_ != nullptr);
  use_one_torch_thread();
  const int64_t size = images_.size();
  const int64_t batch = std::min(options.batch, size);
  const int64_t per_epoch = size / batch;  // what is left over is not seen in this epoch
  const int64_t steps = std::max<int64_t>(
      1, std::llround(options.epochs * static_cast<double>(size) / static_cast<double>(batch)));
  std::vector<TunedParameter>& parameters = network_.parameters();
  for (TunedParameter& parameter : parameters) parameter.reset(parameter.numbers);
  std::vector<at::Tensor> teacher_values;
  if (options.distillation > 0) teacher_values = present_values(*teacher_);
  if (options.bfloat16) {
    for (at::Tensor& value : teacher_values) value = value.to(at::kBFloat16);
  }

  TuneResult result;
  result.steps = steps;
  int64_t scored = 0;
  int64_t order_epoch = -1;
  std::vector<int64_t> order;
  progress.begin(phase, static_cast<double>(steps));
  for (int64_t step = 0; step < steps; ++step) {
    check_interrupt();
    if (before_step) before_step(step, steps);
    const int64_t epoch = first_epoch + step / per_epoch;
    if (epoch != order_epoch) order = images_.order(epoch);
    order_epoch = epoch;
    const int64_t begin = step % per_epoch * batch;
    std::vector<at::Tensor> values = present_values(network_);
    for (at::Tensor& value : values) value.set_requires_grad(true);

    std::vector<ShardGradient> shards(static_cast<size_t>(ceil_div(batch, kShardImages)));
    pool_.run(static_cast<int64_t>(shards.size()), [&](int64_t s, int) {
      use_one_torch_thread();
      const int64_t count = std::min(kShardImages, batch - s * kShardImages);
      const Shard shard = images_.shard(epoch, order, begin + s * kShardImages, count);
      shards[static_cast<size_t>(s)] = gradient_of(shard, values, teacher_values, options, batch);
    });

    double loss = 0;
    int64_t correct = 0;
    for (const ShardGradient& shard : shards) {
      loss += shard.loss;
      correct += shard.correct;
    }
    if (!std::isfinite(loss)) {
      fail(ErrorCode::kInvalidArgument,
           "the loss is no longer finite at step {} of {}: try a lower learning rate", step, steps);
    }
    const double rate = rate_at(options, step, steps);
    pool_.run(static_cast<int64_t>(parameters.size()), [&](int64_t i, int) {
      use_one_torch_thread();
      const at::NoGradGuard no_grad;
      const auto index = static_cast<size_t>(i);
      if (!shards[0].gradients[index].defined()) return;
      at::Tensor sum = shards[0].gradients[index].clone();
      for (size_t s = 1; s < shards.size(); ++s) sum.add_(shards[s].gradients[index]);
      TunedParameter& parameter = parameters[index];
      update(parameter, parameter.gradient(sum.contiguous()), options, rate, step + 1);
    });
    if (step >= steps - std::max<int64_t>(1, steps / 10)) {
      result.loss += loss;
      result.accuracy += static_cast<double>(correct);
      scored += batch;
    }
    progress.update(static_cast<double>(step + 1),
                    fmt::format("loss {:.3f}, {:.1f} %", loss / static_cast<double>(batch),
                                100.0 * static_cast<double>(correct) / static_cast<double>(batch)));
  }
  progress.end();
  result.loss /= static_cast<double>(scored);
  result.accuracy /= static_cast<double>(scored);
  return result;
}

}  // namespace bitsmith
