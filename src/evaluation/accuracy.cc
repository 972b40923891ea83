#include "evaluation/accuracy.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/interrupt.h"
#include "evaluation/log_softmax.h"

namespace bitsmith {
namespace {

using nlohmann::json;

Estimate proportion(int64_t count, int64_t of) {
  if (of == 0) return {};
  const double p = static_cast<double>(count) / static_cast<double>(of);
  return {p, std::sqrt(p * (1 - p) / static_cast<double>(of))};
}

// How many classes come before `label`: 0 if it is the first choice.
int64_t rank_of(std::span<const float> logits, int64_t label) {
  const float own = logits[static_cast<size_t>(label)];
  int64_t rank = 0;
  for (int64_t c = 0; c < static_cast<int64_t>(logits.size()); ++c) {
    const float other = logits[static_cast<size_t>(c)];
    rank += other > own || (other == own && c < label) ? 1 : 0;
  }
  return rank;
}

// One network: its logits of a batch, and what was counted so far.
class Side {
 public:
  Side(const Classifier& classifier, const char* name) : classifier_(classifier), name_(name) {}

  void run(std::span<const float> inputs, int64_t count, int64_t first_image) {
    logits_ = classifier_(inputs, count);
    const auto classes = static_cast<int64_t>(logits_.size()) / count;
    if (classes < 1 || classes * count != static_cast<int64_t>(logits_.size()) ||
        (classes_ != 0 && classes != classes_)) {
      fail(ErrorCode::kInvalidArgument, "the {} network gives {} numbers for {} images", name_,
           logits_.size(), count);
    }
    classes_ = classes;
    result_.classes.resize(static_cast<size_t>(classes));
    for (int64_t i = 0; i < count; ++i) {
      if (!std::ranges::all_of(row(i), [](float x) { return std::isfinite(x); })) {
        fail(ErrorCode::kCorrupt, "the {} network's logits of image {} are not finite", name_,
             first_image + i);
      }
    }
  }

  // Whether row i has `label` as first choice.
  bool add(int64_t i, int64_t label) {
    const int64_t rank = rank_of(row(i), label);
    ++result_.images;
    top1_ += rank < 1 ? 1 : 0;
    top5_ += rank < 5 ? 1 : 0;
    Accuracy::ClassAccuracy& own = result_.classes[static_cast<size_t>(label)];
    ++own.images;
    own.correct += rank < 1 ? 1 : 0;
    return rank < 1;
  }

  int64_t choice(int64_t i) const {
    const auto logits = row(i);
    return std::ranges::max_element(logits) - logits.begin();
  }

  Accuracy finish() const {
    Accuracy result = result_;
    result.top1 = proportion(top1_, result.images);
    result.top5 = proportion(top5_, result.images);
    return result;
  }

  int64_t classes() const { return classes_; }

  std::span<const float> row(int64_t i) const {
    return std::span(logits_).subspan(static_cast<size_t>(i * classes_),
                                      static_cast<size_t>(classes_));
  }

 private:
  const Classifier& classifier_;
  const char* name_;
  std::vector<float> logits_;
  int64_t classes_ = 0;
  int64_t top1_ = 0;
  int64_t top5_ = 0;
  Accuracy result_;
};

// The network's class of an image; nothing if the image has no label.
std::optional<int64_t> class_of(const ImageDataset& dataset, int64_t image,
                                const AccuracyOptions& options, int64_t classes) {
  const int64_t label = options.labels ? dataset.label(image) : ImageDataset::kNoLabel;
  const int64_t offset = options.label_offset;
  if (label == ImageDataset::kNoLabel) return std::nullopt;
  if (label + offset < 0 || label + offset >= classes) {
    fail(ErrorCode::kInvalidArgument, "{} has the label {}, the network has {} classes{}",
         dataset.name(image), label, classes,
         offset != 0 ? fmt::format(" and labels are moved by {}", offset) : "");
  }
  return label + offset;
}

//   labelled: how many of the images have a label
AccuracyComparison compare(int64_t images, int64_t labelled, int64_t agreed, int64_t lost,
                           int64_t gained) {
  AccuracyComparison result;
  result.agreement = proportion(agreed, images);
  result.lost = lost;
  result.gained = gained;
  const auto n = static_cast<double>(std::max<int64_t>(labelled, 1));
  const auto difference = static_cast<double>(gained - lost);
  result.difference.value = difference / n;
  const double variance = static_cast<double>(lost + gained) - difference * difference / n;
  result.difference.error = std::sqrt(std::max(variance, 0.0)) / n;
  return result;
}

json estimate_json(const Estimate& estimate) {
  return {{"value", estimate.value}, {"standard_error", estimate.error}};
}

json accuracy_json(const Accuracy& accuracy) {
  if (accuracy.images == 0) return json::object();
  json classes = json::array();
  for (const auto& c : accuracy.classes) {
    classes.push_back({{"images", c.images}, {"correct", c.correct}});
  }
  return {{"top1", estimate_json(accuracy.top1)},
          {"top5", estimate_json(accuracy.top5)},
          {"classes", classes}};
}

}  // namespace

ClassifierEvaluation evaluate_classifier(const Classifier& model, const Classifier* original,
                                         const ImageDataset& dataset,
                                         const Preprocessing& preprocessing,
                                         const AccuracyOptions& options, ThreadPool& pool,
                                         Progress& progress) {
  if (dataset.size() == 0 || options.batch < 1) {
    fail(ErrorCode::kInvalidArgument, "there are no images to measure on, or the batch is empty");
  }
  Side measured(model, "measured");
  std::optional<Side> reference;
  if (original != nullptr) reference.emplace(*original, "original");
  int64_t agreed = 0;
  int64_t lost = 0;
  int64_t gained = 0;
  WindowMean kl;  // an image is a window
  std::vector<float> scratch;
  progress.begin("evaluate", static_cast<double>(dataset.size()));
  for (int64_t begin = 0; begin < dataset.size(); begin += options.batch) {
    check_interrupt();
    const int64_t count = std::min(options.batch, dataset.size() - begin);
    const std::vector<float> inputs = preprocess_batch(preprocessing, dataset, begin, count, pool);
    measured.run(inputs, count, begin);
    if (reference) {
      reference->run(inputs, count, begin);
      if (reference->classes() != measured.classes()) {
        fail(ErrorCode::kInvalidArgument, "the networks have {} and {} classes", measured.classes(),
             reference->classes());
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      const auto label = class_of(dataset, begin + i, options, measured.classes());
      if (!label && !reference) {
        fail(ErrorCode::kInvalidArgument, "{} has no label; give a file of them with --labels",
             dataset.name(begin + i));
      }
      const bool right = label && measured.add(i, *label);
      if (!reference) continue;
      const bool was_right = label && reference->add(i, *label);
      agreed += measured.choice(i) == reference->choice(i) ? 1 : 0;
      scratch.resize(static_cast<size_t>(measured.classes()));
      kl.add(kl_divergence(reference->row(i), measured.row(i), scratch), 1);
      lost += was_right && !right ? 1 : 0;
      gained += right && !was_right ? 1 : 0;
    }
    progress.update(static_cast<double>(begin + count),
                    fmt::format("top-1 {:.2f} %", 100 * measured.finish().top1.value));
  }
  progress.end();
  ClassifierEvaluation result;
  result.images = dataset.size();
  result.model = measured.finish();
  if (reference) {
    result.original = reference->finish();
    result.comparison = compare(dataset.size(), result.model.images, agreed, lost, gained);
    result.comparison->kl_nats = kl.estimate();
  }
  return result;
}

json ClassifierEvaluation::to_json() const {
  json result = {
      {"images", images}, {"labelled_images", model.images}, {"model", accuracy_json(model)}};
  if (original) result["original"] = accuracy_json(*original);
  if (comparison) {
    result["comparison"] = {{"agreement", estimate_json(comparison->agreement)},
                            {"kl_nats", estimate_json(comparison->kl_nats)},
                            {"top1_difference", estimate_json(comparison->difference)},
                            {"lost", comparison->lost},
                            {"gained", comparison->gained}};
  }
  return result;
}

}  // namespace bitsmith
