#include "eval_images.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <optional>

#include "evaluation/network_classifier.h"
#include "evaluation/operations.h"
#include "model_options.h"
#include "products_option.h"
#include "report/table.h"
#include "report/units.h"

namespace bitsmith {
namespace {

std::string percent(const Estimate& estimate) {
  return format_estimate(100 * estimate.value, 100 * estimate.error) + " %";
}

//   original: what the compression ratio is to
void add_row(Table& table, const char* name, const Model& model, const Accuracy& accuracy,
             const Model& original) {
  const auto bytes = static_cast<double>(model.parameter_bytes());
  const auto weights = static_cast<double>(original.parameter_count());
  const bool labels = accuracy.images > 0;
  table.add_row({name, labels ? percent(accuracy.top1) : "-", labels ? percent(accuracy.top5) : "-",
                 format_bytes(model.parameter_bytes()), fmt::format("{:.3f}", 8 * bytes / weights),
                 fmt::format("{:.2f}", 4 * weights / bytes)});
}

void print(const ClassifierEvaluation& evaluation, const Model& model, const Model* original,
           const NetworkExecutor& executor) {
  Table table({left("model"), right("top-1"), right("top-5"), right("parameters"), right("bpw"),
               right("of float32, 1 :")});
  if (original != nullptr) add_row(table, "original", *original, *evaluation.original, *original);
  add_row(table, original != nullptr ? "compressed" : "model", model, evaluation.model,
          original != nullptr ? *original : model);
  fmt::print("{}", table.text());
  FactList facts;
  facts.add("arithmetic", executor.arithmetic().text());
  facts.add("kernels", fmt::format("{}", fmt::join(executor.kernel_names(), "; ")));
  if (original != nullptr) {
    facts.add("an image takes, original", count_operations(*original).text());
  }
  facts.add("an image takes", count_operations(model).text());
  if (!evaluation.comparison) {
    fmt::print("\n{}", facts.text());
    return;
  }
  const AccuracyComparison& c = *evaluation.comparison;
  facts.add("same first choice", percent(c.agreement));
  facts.add("KL divergence, mean", format_estimate(c.kl_nats.value, c.kl_nats.error) + " nats");
  facts.add("top-1 gained", fmt::format("{}: {} images lost, {} gained", percent(c.difference),
                                        format_count(c.lost), format_count(c.gained)));
  fmt::print("\n{}", facts.text());
}

}  // namespace

void evaluate_images(const Model& model, const Model* original, const ImageOptions& options,
                     Products products, int threads, bool json, Progress& progress) {
  ThreadPool pool(threads);
  NetworkClassifier classifier(model, pool, products);
  check_products(products, classifier.executor().arithmetic());
  std::optional<NetworkClassifier> reference;
  if (original != nullptr) reference.emplace(*original, pool);
  if (reference && reference->input() != classifier.input()) {
    fail(ErrorCode::kInvalidArgument, "the networks' inputs differ: {} and {}",
         to_string(classifier.input()), to_string(reference->input()));
  }
  const auto dataset = open_images(options);
  const Preprocessing preprocessing = choose_preprocessing(options, model, *dataset);
  AccuracyOptions accuracy;
  accuracy.batch = 64;
  accuracy.label_offset = choose_label_offset(options, model);
  const Classifier measured = [&](auto inputs, int64_t count) { return classifier(inputs, count); };
  const Classifier compared = [&](auto inputs, int64_t count) {
    return (*reference)(inputs, count);
  };
  const ClassifierEvaluation evaluation = evaluate_classifier(
      measured, reference ? &compared : nullptr, *dataset, preprocessing, accuracy, pool, progress);
  if (!json) {
    fmt::print("{}: {} images of {} classes; {}\n\n", options.images,
               format_count(evaluation.images), format_count(classifier.classes()),
               describe(preprocessing, classifier.input()));
    print(evaluation, model, original, classifier.executor());
    return;
  }
  nlohmann::json result = evaluation.to_json();
  result["images_path"] = options.images;
  result["preprocessing"] = preprocessing.to_json();
  result["class_names"] = dataset->classes();
  result["model"].update(size_json(model));
  result["model"]["arithmetic"] = classifier.executor().arithmetic().to_json();
  result["model"]["kernels"] = classifier.executor().kernel_names();
  result["model"]["operations"] = count_operations(model).to_json();
  if (original != nullptr) {
    result["original"].update(size_json(*original));
    result["original"]["operations"] = count_operations(*original).to_json();
  }
  fmt::print("{}\n", result.dump(2));
}

}  // namespace bitsmith
