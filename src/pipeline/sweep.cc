#include "pipeline/sweep.h"

#include "formats/model_tokenizer.h"
#include "pipeline/job.h"
#include "text/corpus.h"

namespace bitsmith {

SweepReport sweep(const CompressRequest& request, const std::vector<double>& bits,
                  const MeasurementData& data, Progress& progress) {
  Job job(request);
  if (!job.has_choice()) {
    fail(ErrorCode::kInvalidArgument,
         "recipe '{}' knows one way to code a tensor; a sweep needs a recipe that chooses, such as "
         "gptq-mix",
         job.recipe.id);
  }
  for (const double b : bits) job.check_budget({b, std::nullopt});
  job.check_ram(true);
  ThreadPool pool(request.threads);
  use_one_torch_thread();
  // A text that cannot be read is found before any work.
  Windows windows;
  if (!data.text.empty()) {
    windows = cut_windows(*tokenizer_of(job.original), read_text(data.text),
                          default_context(job.original));
  }
  const std::optional<CalibrationSet> calibration = job.calibrate(pool, progress);
  std::optional<CalibrationImages> images = data.images;
  if (request.images) {
    if (!images) images = probe_images(*calibration, *request.images);
  } else if (data.text.empty()) {
    windows = probe_windows(*calibration);
  }

  TemporaryWorkspace transformed("transform");
  job.transform(transformed.workspace, &*calibration, pool, progress);

  SweepReport report;
  for (const double b : bits) {
    // The survey too belongs to the point: its anchors lie at the budget.
    TemporaryWorkspace temporary("sweep");
    const auto [plan, matrices] =
        compress_into(job, {b, std::nullopt}, &*calibration, temporary.workspace, pool, progress);
    report.original_bytes = plan.original_bytes;
    report.original_bpw = plan.original_bpw();
    const Model network = coded_network(job, matrices, &*calibration, pool).model;
    SweepPoint point{b, plan.tensor_bytes, plan.bpw(), *plan.predicted_kl_nats, {}, {}};
    if (images) {
      point.accuracy = measure_accuracy(network, job.original, *images, pool, progress);
    } else {
      point.quality = measure_quality(job, network.parameters, windows, pool, progress);
    }
    report.points.push_back(std::move(point));
  }
  return report;
}

nlohmann::json SweepReport::to_json() const {
  nlohmann::json result = {{"original", {{"tensor_bytes", original_bytes}, {"bpw", original_bpw}}},
                           {"points", nlohmann::json::array()}};
  for (const SweepPoint& p : points) {
    result["points"].push_back(
        {{"bits", p.bits},
         {"tensor_bytes", p.tensor_bytes},
         {"bpw", p.bpw},
         {"predicted_kl_nats", p.predicted_kl_nats},
         {"quality", p.quality ? p.quality->to_json() : p.accuracy->to_json()}});
  }
  return result;
}

}  // namespace bitsmith
