// Fine-tunes a classifier by gradients through the reference executor.
#pragma once

#include <functional>
#include <string>

#include "core/progress.h"
#include "core/thread_pool.h"
#include "tuning/training_images.h"
#include "tuning/tuned_network.h"

namespace bitsmith {

enum class OptimizerKind : uint8_t { kSgd, kAdam };

struct TuneOptions {
  double epochs = 1;    // over all images; a part of one is allowed
  int64_t batch = 128;  // images of a step; a multiple of kShardImages, or below it
  OptimizerKind optimizer = OptimizerKind::kSgd;
  double rate = 0.01;        // of learning, at the beginning
  double final_rate = 0.01;  // of the first, at the end of the cosine
  double warmup = 0;         // share of the steps over which the rate rises from 0
  double momentum = 0.9;     // SGD's (Nesterov's form); Adam's are 0.9 and 0.999
  double weight_decay = 0;   // of matrices, decoupled: w -= rate * weight_decay * w
  // Share of the loss that is the Kullback-Leibler divergence from the teacher's class
  // probabilities; the rest is cross-entropy with the labels. Both of softmax(logits / temperature)
  // for the former, times temperature² (Hinton et al. 2015, arXiv:1503.02531).
  double distillation = 0;
  double temperature = 1;
  // Activations, weights as they are read, and gradients of a shard are bfloat16; what is trained,
  // losses, sums of gradients and the optimizer stay float32 (Micikevicius et al. 2018,
  // arXiv:1710.03740; no scale is needed: bfloat16 has the exponents of float32).
  bool bfloat16 = false;
};

// Images whose gradients are computed together, on one thread. A constant: the sum over shards does
// not depend on the number of threads. 32 images of a CIFAR network stay in the L2 cache.
inline constexpr int64_t kShardImages = 32;

struct TuneResult {
  int64_t steps = 0;
  double loss = 0;      // mean over the last tenth of the steps, nats
  double accuracy = 0;  // of the same images, as they were augmented
};

class Tuner {
 public:
  // Called before each step: `done` and `total` steps. Here schedules change what is held.
  using BeforeStep = std::function<void(int64_t done, int64_t total)>;

  //   teacher: nullptr, or the network whose logits are distilled; not changed by training
  // All are used, not owned.
  Tuner(TunedNetwork& network, const TunedNetwork* teacher, const TrainingImages& images,
        ThreadPool& pool);

  // Trains for options.epochs; the images of the first step are those of `first_epoch`. The same
  // numbers for any number of threads. Throws kInvalidArgument if the loss is no longer finite,
  // kInterrupted between steps.
  TuneResult train(const TuneOptions& options, int64_t first_epoch, const BeforeStep& before_step,
                   const std::string& phase, Progress& progress);

 private:
  struct ShardGradient {
    std::vector<at::Tensor> gradients;  // of parameters, in order
    double loss = 0;                    // summed over images
    int64_t correct = 0;
  };
  ShardGradient gradient_of(const Shard& shard, const std::vector<at::Tensor>& values,
                            const std::vector<at::Tensor>& teacher_values,
                            const TuneOptions& options, int64_t batch) const;

  TunedNetwork& network_;
  const TunedNetwork* teacher_;
  const TrainingImages& images_;
  ThreadPool& pool_;
};

// Logits [n, classes] of inputs [n, ...] when the parameters have `values` (in the order of
// network.parameters()); differentiable.
at::Tensor network_logits(const TunedNetwork& network, const std::vector<at::Tensor>& values,
                          const at::Tensor& inputs);

// Values as convolutions read them fastest: weights of images channels last.
std::vector<at::Tensor> present_values(const TunedNetwork& network);

}  // namespace bitsmith
