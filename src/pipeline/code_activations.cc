#include "pipeline/code_activations.h"

#include "calibration/correct_biases.h"
#include "core/error_context.h"
#include "graph/round_inputs.h"

namespace bitsmith {
namespace {

CalibrationInputs inputs_of(const CalibrationSet& set) {
  CalibrationInputs inputs;
  inputs.images = set.count;
  const auto size = static_cast<int64_t>(set.images.size()) / (set.count + set.probes);
  inputs.batch = [&set, size](int64_t begin, int64_t count) {
    const auto first = set.images.begin() + begin * size;
    return std::vector<std::vector<float>>{{first, first + count * size}};
  };
  return inputs;
}

}  // namespace

Model with_activation_nodes(Model model, const ActivationCodes& codes) {
  if (is_language_model(model.graph)) {
    fail(ErrorCode::kUnsupported,
         "the recipe has [activations], which are for image networks; '{}' is a language model",
         model.path.string());
  }
  if (codes.correct_biases) add_missing_biases(model);
  const std::vector<QuantizationSite> sites = find_quantization_sites(model.graph);
  if (sites.empty()) {
    fail(ErrorCode::kUnsupported, "'{}' has no operator that integers could compute",
         model.path.string());
  }
  insert_quantization(model, sites, std::vector<ValueRange>(sites.size(), {0, 1}), codes.bits);
  return model;
}

Model with_rounded_tokens(Model model, int bits) {
  if (bits == 0) return model;
  if (!is_language_model(model.graph)) {
    fail(ErrorCode::kUnsupported,
         "the recipe rounds activations per token, which is for language models; '{}' is none: use "
         "a recipe with an observer, such as w8a8",
         model.path.string());
  }
  model.graph = with_context(model.path.string(), [&] {
    return with_rounded_inputs(std::move(model.graph), bits, [](const auto&) { return true; });
  });
  return model;
}

CodedActivations code_activations(const Model& coded, const Model& floats, const Model& unfolded,
                                  const ActivationCodes& codes, const CalibrationSet* images,
                                  uint64_t ram_bytes, ThreadPool& pool) {
  CodedActivations result;
  result.model = coded;
  if (codes.correct_biases) {
    add_missing_biases(result.model);
    result.biases = correct_biases(result.model, floats, inputs_of(*images), pool,
                                   codes.reestimate ? MeanInputs::kCoded : MeanInputs::kOriginal);
  }
  const std::vector<QuantizationSite> sites = find_quantization_sites(result.model.graph);
  const bool observes = codes.observer.part != nullptr;
  const auto bytes = static_cast<int64_t>(std::min<uint64_t>(ram_bytes / 8, uint64_t{1} << 28));
  const std::vector<ValueRange> ranges =
      observes
          ? observe_ranges(result.model, sites, inputs_of(*images),
                           {codes.observer.part, codes.observer.options}, codes.bits, pool, bytes)
          : batch_norm_ranges(unfolded, sites, codes.sigmas);
  insert_quantization(result.model, sites, ranges, codes.bits);
  // The checkpoint's writer gives pages back as it goes.
  settle_buffers(result.model);
  for (const QuantizationSite& site : sites) result.values += static_cast<int>(site.values.size());
  return result;
}

}  // namespace bitsmith
