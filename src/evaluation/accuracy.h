// How often a classifier is right, and what compression changed.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/progress.h"
#include "core/thread_pool.h"
#include "evaluation/error_bar.h"
#include "images/dataset.h"
#include "images/preprocessing.h"

namespace bitsmith {

// Runs a network on `count` inputs [count, input elements]; gives logits [count, classes].
using Classifier = std::function<std::vector<float>(std::span<const float> inputs, int64_t count)>;

// Counts over images that have a label. Proportions have the binomial standard error
// sqrt(p (1 - p) / n).
struct Accuracy {
  int64_t images = 0;
  Estimate top1;
  Estimate top5;  // of fewer than six classes it is 1
  struct ClassAccuracy {
    int64_t images = 0;
    int64_t correct = 0;
  };
  std::vector<ClassAccuracy> classes;  // [classes]
};

// Two networks on the same images.
struct AccuracyComparison {
  Estimate agreement;  // the same first choice, right or wrong
  Estimate kl_nats;    // mean of KL(original || model), of the softmax of the logits
  // top-1 of the model minus that of the original. Only images on which exactly one is right count:
  // with b lost and c gained of n, the standard error is sqrt(b + c - (b - c)² / n) / n.
  Estimate difference;
  int64_t lost = 0;    // right only by the original
  int64_t gained = 0;  // right only by the model
};

struct ClassifierEvaluation {
  int64_t images = 0;
  Accuracy model;
  std::optional<Accuracy> original;
  std::optional<AccuracyComparison> comparison;  // if there is an original

  nlohmann::json to_json() const;
};

struct AccuracyOptions {
  int64_t batch = 32;
  // The network's class of label i is i + this: MobileNet has 1001 classes, 0 is the background.
  int64_t label_offset = 0;
  bool labels = true;  // false: images are taken to have none
};

// Measures on all images, a batch after the other; images without labels are only compared. A label
// is among the top k if fewer than k classes have a larger logit, or an equal one and a smaller
// number. The same figures for any number of threads. Throws kInvalidArgument for labels beyond the
// classes, and for images without labels if there is nothing to compare with, kCorrupt for logits
// that are not finite.
//   original: nullptr, or what to compare with
ClassifierEvaluation evaluate_classifier(const Classifier& model, const Classifier* original,
                                         const ImageDataset& dataset,
                                         const Preprocessing& preprocessing,
                                         const AccuracyOptions& options, ThreadPool& pool,
                                         Progress& progress);

}  // namespace bitsmith
