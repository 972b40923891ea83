#include "pipeline/compare.h"

#include <algorithm>
#include <array>

#include "core/seconds.h"
#include "core/system_memory.h"
#include "encoding/coded_storage.h"
#include "evaluation/network_classifier.h"
#include "formats/model_tokenizer.h"
#include "pipeline/job.h"
#include "text/corpus.h"

namespace bitsmith {
namespace {

// The median of three runs of 16 tokens; which tokens they are does not matter.
double tokens_per_s(const Graph& graph, const std::map<std::string, CodedTensor>& parameters,
                    uint64_t ram_bytes, ThreadPool& pool) {
  constexpr int kTokens = 16;
  Executor executor(graph, parameters, pool, 1);
  executor.keep_decoded_weights(std::min(available_memory_bytes(), ram_bytes) /
                                2);  // as `run` does
  Sequence sequence = executor.make_sequence();
  const TokenId token = 0;
  executor.run(sequence, {&token, 1}, Executor::Logits::kLast);  // brings weights into memory
  std::array<double, 3> seconds{};
  for (double& s : seconds) {
    sequence.reset();
    const auto start = Clock::now();
    for (int i = 0; i < kTokens; ++i) {
      executor.run(sequence, {&token, 1}, Executor::Logits::kLast);
    }
    s = seconds_since(start);
  }
  std::ranges::sort(seconds);
  return kTokens / seconds[1];
}

// The median of three runs over the first images, half a second each.
double images_per_s(const Model& model, const CalibrationImages& images, ThreadPool& pool) {
  const int64_t count = std::min<int64_t>(64, images.dataset->size());
  const std::vector<float> inputs =
      preprocess_batch(images.preprocessing, *images.dataset, 0, count, pool);
  NetworkClassifier classifier(model, pool);
  classifier(inputs, count);
  std::array<double, 3> rates{};
  for (double& rate : rates) {
    const auto start = Clock::now();
    int64_t shown = 0;
    while (shown == 0 || seconds_since(start) < 0.5) {
      classifier(inputs, count);
      shown += count;
    }
    rate = static_cast<double>(shown) / seconds_since(start);
  }
  std::ranges::sort(rates);
  return rates[1];
}

// The request for one recipe: without what it does not take.
CompressRequest request_for(const CompressRequest& request, const std::string& name) {
  CompressRequest result = request;
  result.recipe = name;
  if (load_recipe(name, {}).sequences == 0) {
    result.calibration.clear();
    result.images.reset();
    std::erase_if(result.overrides,
                  [](const std::string& o) { return o.starts_with("calibrate."); });
  }
  const Recipe recipe = load_recipe(name, result.overrides);
  if (recipe.candidates.size() <= 1) result.budget = {};
  return result;
}

// The bytes of all parameters as a file with this entropy coder holds them.
uint64_t coded_bytes(const std::map<std::string, CodedTensor>& parameters,
                     const EntropyCoder& coder, ThreadPool& pool) {
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : parameters) {
    bytes += std::min(tensor.bytes.size(), encode_storage(tensor, coder, pool).size());
  }
  return bytes;
}

ComparePoint measure(const CompressRequest& request, const Windows& windows,
                     const MeasurementData& data, ThreadPool& pool, Progress& progress) {
  const auto start = Clock::now();
  Job job(request);
  const std::optional<CalibrationSet> calibration = job.calibrate(pool, progress);
  TemporaryWorkspace temporary("compare");
  job.transform(temporary.workspace, calibration ? &*calibration : nullptr, pool, progress);
  const Compressed compressed =
      compress_into(job, request.budget, calibration ? &*calibration : nullptr, temporary.workspace,
                    pool, progress);
  ComparePoint point;
  point.recipe = job.recipe.id;
  point.tensor_bytes = compressed.plan.tensor_bytes;
  point.bpw = compressed.plan.bpw();
  const Model network =
      coded_network(job, compressed.matrices, calibration ? &*calibration : nullptr, pool).model;
  if (const EntropyCoder* coder = job.recipe.entropy_coder.part) {
    point.tensor_bytes = coded_bytes(network.parameters, *coder, pool);
    point.bpw =
        8 * static_cast<double>(point.tensor_bytes) / static_cast<double>(compressed.plan.weights);
  }
  point.seconds = seconds_since(start);
  if (data.images) {
    point.accuracy = measure_accuracy(network, job.original, *data.images, pool, progress);
    point.rate = images_per_s(network, *data.images, pool);
  } else {
    point.quality = measure_quality(job, network.parameters, windows, pool, progress);
    point.rate = tokens_per_s(network.graph, network.parameters, request.ram_bytes, pool);
  }
  return point;
}

}  // namespace

CompareReport compare(const CompressRequest& request, const std::vector<std::string>& recipes,
                      const MeasurementData& data, Progress& progress) {
  std::vector<CompressRequest> requests;
  for (const std::string& recipe : recipes) requests.push_back(request_for(request, recipe));
  // Everything that can be refused is, before any work.
  for (const CompressRequest& one : requests) {
    const Job job(one);
    job.check_budget(one.budget);
    job.check_ram(job.has_choice());
  }
  const Model original = open_model(request.model);
  Windows windows;
  if (!data.images) {
    windows = cut_windows(*tokenizer_of(original), read_text(data.text), default_context(original));
  }
  ThreadPool pool(request.threads);
  use_one_torch_thread();

  CompareReport report;
  report.original_bytes = original.parameter_bytes();
  report.original_bpw = 8 * static_cast<double>(report.original_bytes) /
                        static_cast<double>(original.parameter_count());
  report.original_rate =
      data.images ? images_per_s(original, *data.images, pool)
                  : tokens_per_s(original.graph, original.parameters, request.ram_bytes, pool);
  for (const CompressRequest& one : requests) {
    report.points.push_back(measure(one, windows, data, pool, progress));
  }
  return report;
}

nlohmann::json CompareReport::to_json() const {
  const bool images = !points.empty() && points.front().accuracy;
  const char* rate = images ? "images_per_s" : "text_tokens_per_s";
  nlohmann::json result = {
      {"original",
       {{"tensor_bytes", original_bytes}, {"bpw", original_bpw}, {rate, original_rate}}},
      {"points", nlohmann::json::array()}};
  for (const ComparePoint& p : points) {
    result["points"].push_back(
        {{"recipe", p.recipe},
         {"tensor_bytes", p.tensor_bytes},
         {"bpw", p.bpw},
         {"compress_seconds", p.seconds},
         {rate, p.rate},
         {"quality", images ? p.accuracy->to_json() : p.quality->to_json()}});
  }
  return result;
}

}  // namespace bitsmith
