#include "recipes/tuning_step.h"

namespace bitsmith {
namespace {

// What all steps that train have in common.
std::vector<OptionSpec> with_training(std::vector<OptionSpec> own) {
  const std::vector<OptionSpec> common = {
      {"epochs", 1.0, "passes over the images", 0, 10000},
      {"batch", int64_t{128}, "images of a step", 1, 65536},
      {"optimizer",
       std::string("adam"),
       "adam, or sgd with momentum 0.9, which deep networks with folded batch norms may not stand",
       -1e300,
       1e300,
       {"adam", "sgd"}},
      {"rate", 0.0003, "learning rate at the beginning", 0, 10},
      {"final_rate", 0.01, "share of it at the end of the cosine", 0, 1},
      {"warmup", 0.0, "share of the steps over which the rate rises from 0", 0, 0.9},
      {"weight_decay", 0.0, "of weights, decoupled", 0, 1},
      {"distillation", 0.0,
       "share of the loss that compares with the network before it was compressed", 0, 1},
      {"temperature", 2.0, "of the probabilities that are compared", 0.01, 100},
      {"precision",
       std::string("float32"),
       "of activations and gradients: float32, or bfloat16, 2 times as fast where the processor "
       "has AVX-512 BF16 or AMX, slower where it has not",
       -1e300,
       1e300,
       {"float32", "bfloat16"}},
      {"flip", true, "mirror every second image"},
      {"shift", int64_t{2}, "move images by up to so many pixels", 0, 64},
  };
  own.insert(own.end(), common.begin(), common.end());
  return own;
}

struct Steps {
  Steps() {
    add({"train", "train on, nothing held: the network that all later steps are measured against",
         "", with_training({})});
    add({"prune", "prune while training, on a cubic schedule; pruned weights may come back",
         "Zhu and Gupta 2017, arXiv:1710.01878; Guo et al. 2016 (dynamic network surgery), "
         "arXiv:1608.04493; lamp: Lee et al. 2021, arXiv:2010.07611",
         with_training(
             {{"sparsity", 0.75, "share of all weights of matrices that are 0 at the end", 0,
               0.999},
              {"scope",
               std::string("lamp"),
               "what a weight is ranked against: its layer, all weights (global), all by what they "
               "add to the error of their layer (lamp)",
               -1e300,
               1e300,
               {"lamp", "layer", "global"}},
              {"block", int64_t{0}, "M of N:M, N = M (1 - sparsity) rounded up; 0: any weights", 0,
               1024},
              {"begin", 0.0, "share of the steps before pruning begins", 0, 1},
              {"end", 0.6, "and at which it has reached its end", 0, 1},
              {"every", int64_t{16}, "training steps between two choices of weights", 1, 100000},
              {"regrow", true,
               "pruned weights go on learning and come back when they are large"}})});
    add({"slim",
         "channels removed, those of the smallest batch norm scales first, then training: a dense "
         "network of fewer channels; those that a sum or a join ties to others stay",
         "Liu et al. 2017 (network slimming), arXiv:1708.06519; differs: no sparsity penalty on "
         "the "
         "scales before, filters without a norm are ranked by their own norm",
         with_training(
             {{"share", 0.5, "share of the channels that may go that goes", 0, 0.99},
              {"scope",
               std::string("layer"),
               "what a channel is ranked against: its layer, of which the same share goes, or all "
               "layers (global), which all need a batch norm",
               -1e300,
               1e300,
               {"layer", "global"}},
              {"keep", 0.1, "share of each layer's channels that stays whatever their rank", 0,
               1}})});
    add({"quantize", "trains with the weights in the recipe's code",
         "Zhou et al. 2017 (INQ), arXiv:1702.03044; straight-through: Bengio et al. 2013, "
         "arXiv:1308.3432",
         with_training(
             {{"halvings", int64_t{0},
               "0: all weights are in code, and those below them learn (straight-through); n: half "
               "of the weights get their codes, half of the rest, n times, the others trained on "
               "after each (incremental)",
               0, 10},
              {"search", int64_t{20}, "ranges that the code's scales are chosen from", 0, 1000}})});
    add({"share",
         "codes once, then trains the shared values of each matrix with the codes as they are",
         "Han et al. 2016 (Deep Compression), arXiv:1510.00149, section 3", with_training({})});
  }

  static void add(PartInfo info) {
    auto step = std::make_unique<TuningStep>();
    step->part = std::move(info);
    Registry<TuningStep>::instance().add(std::move(step));
  }
};

const Steps kSteps;

}  // namespace
}  // namespace bitsmith
