#include "pipeline/sweep.h"

#include "formats/model_tokenizer.h"
#include "pipeline/job.h"
#include "text/corpus.h"

namespace bitsmith {

SweepReport sweep(const CompressRequest& request, const std::vector<double>& bits,
                  const std::filesystem::path& text, Progress& progress) {
  Job job(request);
  refuse_activations(job);
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
  if (!text.empty()) {
    windows =
        cut_windows(*tokenizer_of(job.original), read_text(text), default_context(job.original));
  }
  const std::optional<CalibrationSet> calibration = job.calibrate(pool, progress);
  if (text.empty()) windows = probe_windows(*calibration);

  TemporaryWorkspace transformed("transform");
  job.transform(transformed.workspace.folder(), pool, progress);

  SweepReport report;
  for (const double b : bits) {
    // The survey too belongs to the point: its anchors lie at the budget.
    TemporaryWorkspace temporary("sweep");
    const auto [plan, matrices] =
        compress_into(job, {b, std::nullopt}, &*calibration, temporary.workspace, pool, progress);
    report.original_bytes = plan.original_bytes;
    report.original_bpw = plan.original_bpw();
    report.points.push_back(
        {b, plan.tensor_bytes, plan.bpw(), *plan.predicted_kl_nats,
         measure_quality(job, job.parameters(matrices), windows, pool, progress)});
  }
  return report;
}

nlohmann::json SweepReport::to_json() const {
  nlohmann::json result = {{"original", {{"tensor_bytes", original_bytes}, {"bpw", original_bpw}}},
                           {"points", nlohmann::json::array()}};
  for (const SweepPoint& p : points) {
    result["points"].push_back({{"bits", p.bits},
                                {"tensor_bytes", p.tensor_bytes},
                                {"bpw", p.bpw},
                                {"predicted_kl_nats", p.predicted_kl_nats},
                                {"quality", p.quality.to_json()}});
  }
  return result;
}

}  // namespace bitsmith
