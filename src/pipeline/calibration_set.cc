#include "pipeline/calibration_set.h"

#include <algorithm>
#include <limits>

#include "core/random.h"
#include "formats/checkpoint_metadata.h"
#include "formats/model_tokenizer.h"
#include "pipeline/memory.h"
#include "runtime/executor.h"
#include "runtime/sampler.h"
#include "text/corpus.h"

namespace bitsmith {
namespace {

// Tokens that are kept apart for measurements, as far as the text allows.
constexpr int64_t kProbeTokens = 4096;

int64_t probe_count(int64_t sequences, int64_t length) {
  return std::clamp<int64_t>(kProbeTokens / length, 1, std::max<int64_t>(1, sequences));
}

// `count` of `size`, evenly spread, in an order that is drawn: the first and the rest both see the
// whole of it.
std::vector<int64_t> spread(int64_t count, int64_t size, uint64_t seed) {
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) chosen.push_back(i * size / count);
  Random random(seed, "calibration");
  for (size_t i = chosen.size(); i > 1; --i) std::swap(chosen[i - 1], chosen[random.below(i)]);
  return chosen;
}

CalibrationSet from_text(const Model& model, const CalibrationRequest& request,
                         CalibrationSet set) {
  const int64_t length = set.length;
  const std::string text = read_text(request.text);
  if (model.tokenizer_files.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "'{}' has no tokenizer, so --calibration cannot be read; leave it out to sample text from "
         "the model itself",
         model.path.string());
  }
  const std::vector<TokenId> tokens = tokenizer_of(model)->encode(text, false);
  const Graph& graph = model.graph;
  const int64_t vocabulary = graph.value(graph.outputs.at(0)).shape.back();
  const auto beyond =
      std::ranges::find_if(tokens, [&](TokenId token) { return token < 0 || token >= vocabulary; });
  if (beyond != tokens.end()) {
    fail(ErrorCode::kCorrupt,
         "'{}': the tokenizer makes the token {}, the model has {}; they do not belong together",
         model.path.string(), *beyond, vocabulary);
  }
  const int64_t windows = static_cast<int64_t>(tokens.size()) / length;
  if (windows < 2) {
    fail(ErrorCode::kInvalidArgument,
         "'{}' has {} tokens; calibration needs at least two sequences of {}: use a longer text or "
         "--set calibrate.length={}",
         request.text.string(), tokens.size(), length, std::max<size_t>(2, tokens.size() / 2));
  }
  set.probes = std::min(set.probes, windows / 2);
  set.count = std::min(request.sequences, windows - set.probes);
  for (const int64_t window : spread(set.count + set.probes, windows, request.seed)) {
    const auto begin = tokens.begin() + window * length;
    set.sequences.emplace_back(begin, begin + length);
  }
  set.description = {{"source", "text"},
                     {"file", request.text.filename().string()},
                     {"checksum", checkpoint::checksum(std::as_bytes(std::span(text)))}};
  return set;
}

CalibrationSet plan_images(const Model& model, const CalibrationRequest& request) {
  const Graph& graph = model.graph;
  if (request.images == nullptr) {
    fail(ErrorCode::kInvalidArgument,
         "'{}' is a network of images: give the recipe some with --calibration (see --help)",
         model.path.string());
  }
  if (request.length > 0) {
    fail(ErrorCode::kInvalidArgument,
         "calibrate.length is {}: that is for texts, '{}' takes images", request.length,
         model.path.string());
  }
  CalibrationSet set;
  set.length = 1;
  const int64_t total = request.images->dataset->size();
  if (total < 2) {
    fail(ErrorCode::kInvalidArgument, "calibration needs at least two images, there are {}", total);
  }
  set.probes = std::min(probe_count(request.sequences, 1), total / 2);
  set.count = std::min(request.sequences, total - set.probes);
  set.input = sample_shape(graph, graph.inputs.at(0), set);
  if (graph.inputs.size() != 1 || set.input.empty() || set.input[0] != 1) {
    fail(ErrorCode::kUnsupported,
         "'{}' has {} inputs, the first of {}; calibration knows networks of one image at a time",
         model.path.string(), graph.inputs.size(), to_string(set.input));
  }
  return set;
}

CalibrationSet from_images(const CalibrationRequest& request, CalibrationSet set,
                           ThreadPool& pool) {
  const ImageDataset& dataset = *request.images->dataset;
  set.numbers = spread(set.count + set.probes, dataset.size(), request.seed);
  const auto elements = static_cast<size_t>(*element_count(set.input));
  set.images.resize(set.numbers.size() * elements);
  pool.run(static_cast<int64_t>(set.numbers.size()), [&](int64_t i, int) {
    const int64_t number = set.numbers[static_cast<size_t>(i)];
    const std::vector<float> image =
        preprocess(request.images->preprocessing, dataset.image(number));
    if (image.size() != elements) {
      fail(ErrorCode::kInvalidArgument,
           "{} becomes {} numbers, the network's input is {}: see --resize and --crop",
           dataset.name(number), image.size(), to_string(set.input));
    }
    std::ranges::copy(image, set.images.begin() + i * static_cast<int64_t>(elements));
  });
  set.description = {{"source", "images"},
                     {"checksum", checkpoint::checksum(std::as_bytes(std::span(set.images)))}};
  return set;
}

// Text that the model itself writes at temperature 1, as in LLM-QAT (Liu et al. 2023, arXiv
// 2305.17888): data-free, and distributed as the model believes text to be. Starts with BOS where
// there is one, else with a token drawn from the vocabulary.
CalibrationSet from_model(const Model& model, const CalibrationRequest& request, CalibrationSet set,
                          ThreadPool& pool, Progress& progress) {
  const int64_t length = set.length;
  const int64_t total = set.count + set.probes;
  std::optional<TokenId> bos;
  if (!model.tokenizer_files.empty()) bos = tokenizer_of(model)->bos();

  const SamplingPlan plan = plan_sampling(model.parameter_bytes(),
                                          sequence_cache_bytes(model, length), request.ram_bytes);
  Executor executor(model, pool, plan.together);
  if (plan.release_weights) executor.release_weights_after_use();
  const int64_t vocab = executor.output_channels();
  set.sequences.resize(static_cast<size_t>(total));
  progress.begin("sampling", static_cast<double>(total));
  for (int64_t base = 0; base < total; base += plan.together) {
    const int64_t count = std::min(plan.together, total - base);
    std::vector<Sequence> states;
    std::vector<Sampler> samplers;
    for (int64_t i = 0; i < count; ++i) {
      states.push_back(executor.make_sequence());
      Random random(request.seed, fmt::format("first/{}", base + i));
      const TokenId first =
          bos.value_or(static_cast<TokenId>(random.below(static_cast<uint64_t>(vocab))));
      set.sequences[static_cast<size_t>(base + i)] = {first};
      samplers.emplace_back(
          SamplerOptions{.temperature = 1.0, .top_p = 1.0, .seed = random.next()});
    }
    for (int64_t t = 1; t < length; ++t) {
      std::vector<Executor::Segment> segments;
      for (int64_t i = 0; i < count; ++i) {
        const auto& tokens = set.sequences[static_cast<size_t>(base + i)];
        segments.push_back({&states[static_cast<size_t>(i)], {&tokens.back(), 1}});
      }
      const std::span<const float> logits = executor.run(segments, Executor::Logits::kLast);
      pool.run(count, [&](int64_t i, int) {
        set.sequences[static_cast<size_t>(base + i)].push_back(
            samplers[static_cast<size_t>(i)].sample(
                logits.subspan(static_cast<size_t>(i * vocab), static_cast<size_t>(vocab))));
      });
      progress.update(
          static_cast<double>(base) + static_cast<double>(count * t) / static_cast<double>(length),
          "");
    }
  }
  progress.end();
  set.description = {{"source", "sampled from the model"}, {"seed", request.seed}};
  return set;
}

}  // namespace

Shape sample_shape(const Graph& graph, ValueId value, const CalibrationSet& calibration) {
  Shape shape = graph.value(value).shape;
  for (int64_t& extent : shape) {
    extent = extent == kBatch ? 1 : extent == kTime ? calibration.length : extent;
  }
  return shape;
}

CalibrationSet plan_calibration(const Model& model, const CalibrationRequest& request) {
  if (!is_language_model(model.graph)) return plan_images(model, request);
  int64_t context = std::numeric_limits<int64_t>::max();
  if (model.config.is_object() && model.config.contains("max_position_embeddings") &&
      model.config["max_position_embeddings"].is_number_integer()) {
    context = model.config["max_position_embeddings"].get<int64_t>();
  }
  if (request.length > context) {
    fail(ErrorCode::kInvalidArgument,
         "calibrate.length is {}, but '{}' is made for {} tokens (max_position_embeddings): use "
         "--set calibrate.length={}",
         request.length, model.path.string(), context, context);
  }
  CalibrationSet set;
  set.length =
      std::max<int64_t>(2, request.length > 0 ? request.length : std::min<int64_t>(512, context));
  set.count = request.sequences;
  set.probes = probe_count(set.count, set.length);
  return set;
}

CalibrationSet make_calibration_set(const Model& model, const CalibrationRequest& request,
                                    ThreadPool& pool, Progress& progress) {
  CalibrationSet sizes = plan_calibration(model, request);
  const bool images = request.images != nullptr;
  CalibrationSet set = images ? from_images(request, std::move(sizes), pool)
                       : request.text.empty()
                           ? from_model(model, request, std::move(sizes), pool, progress)
                           : from_text(model, request, std::move(sizes));
  set.description[images ? "images" : "sequences"] = set.count;
  set.description["probes"] = set.probes;
  if (!images) set.description["length"] = set.length;
  return set;
}

}  // namespace bitsmith
