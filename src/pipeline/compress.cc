#include "pipeline/compress.h"

#include <cmath>

#include "core/output_file.h"
#include "core/seconds.h"
#include "core/system_memory.h"
#include "pipeline/job.h"
#include "pipeline/tune.h"

namespace bitsmith {
namespace {

using nlohmann::json;
// What the format does not code anew has the bytes that it was given, to the last bit.
void check_kept(const std::filesystem::path& path, const CheckpointContents& contents,
                const Model& written) {
  for (const auto& [name, tensor] : written.parameters) {
    const CodedTensor& given = contents.parameters.at(name);
    if (tensor.scheme.to_json() != given.scheme.to_json()) continue;
    if (!std::ranges::equal(tensor.bytes, given.bytes)) {
      fail(ErrorCode::kCorrupt, "'{}': tensor '{}' was kept, but its bytes changed", path.string(),
           name);
    }
    release_pages(tensor.bytes);
    release_pages(given.bytes);
  }
}

// Reads the written file back and holds it against what was planned and encoded.
void check_written(const std::filesystem::path& path, const Job& job, const Plan& plan,
                   const std::vector<EncodedMatrix>& encoded, const CheckpointContents& contents,
                   CompressReport& report, ThreadPool& pool, Progress& progress) {
  const Model written = job.format.open(path);
  job.format.verify(written, contents, progress);
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : written.parameters) {
    bytes += job.format.stored_bytes(tensor.matrix(), tensor.scheme);
  }
  if (bytes != plan.tensor_bytes) {
    fail(ErrorCode::kCorrupt, "'{}' holds {} bytes of parameters; the plan was {}", path.string(),
         bytes, plan.tensor_bytes);
  }
  report.tensor_bytes = written.parameter_bytes();
  check_kept(path, contents, written);
  progress.begin("compare", static_cast<double>(encoded.size()));
  for (size_t t = 0; t < encoded.size(); ++t) {
    progress.update(static_cast<double>(t), encoded[t].name);
    const CodedTensor& tensor = written.parameter(encoded[t].name);
    const CodedTensor& original = *job.tasks[t].tensor;
    const MatrixShape shape = tensor.matrix();
    constexpr int64_t kRows = 64;
    const int64_t chunks = ceil_div(shape.rows, kRows);
    std::vector<std::vector<float>> branch;
    for (const size_t part : job.tasks[t].residual) {
      branch.push_back(written.parameter(encoded[part].name).decode_all());
    }
    std::vector<double> errors(static_cast<size_t>(chunks), 0.0);
    pool.run(chunks, [&](int64_t chunk, int) {
      const int64_t begin = chunk * kRows;
      const int64_t count = std::min(kRows, shape.rows - begin);
      std::vector<float> q(static_cast<size_t>(count * shape.cols));
      std::vector<float> w(q.size());
      tensor.decode(begin, count, q.data());
      if (!branch.empty()) job.recipe.residual.part->add_to(shape, branch, begin, count, q.data());
      original.decode(begin, count, w.data());
      for (size_t i = 0; i < q.size(); ++i) {
        const double d = static_cast<double>(w[i]) - static_cast<double>(q[i]);
        errors[static_cast<size_t>(chunk)] += d * d;
      }
    });
    double squared = 0;
    for (const double e : errors) squared += e;
    release_pages(tensor.bytes);
    release_pages(original.bytes);
    if (!std::isfinite(squared) ||
        std::abs(squared - encoded[t].squared_error) > 1e-5 * encoded[t].squared_error) {
      fail(ErrorCode::kCorrupt,
           "'{}': tensor '{}' decodes with a squared error of {}, it was encoded with {}",
           path.string(), encoded[t].name, squared, encoded[t].squared_error);
    }
    MatrixReport& row = report.matrices[t];
    if (!job.tasks[t].of_residual) row.relative_mse = encoded[t].relative_mse();
    row.bytes = tensor.stored_bytes().size();
    row.bpw = 8 * static_cast<double>(row.bytes) / static_cast<double>(shape.rows * shape.cols);
  }
  progress.end();
}

}  // namespace

CompressReport plan_only(const CompressRequest& request, Progress& progress) {
  const auto start = Clock::now();
  Job job(request);
  job.check_budget(request.budget);
  // What a residual makes of a scheme's loss is not known before it is there.
  const bool surveyed =
      job.recipe.sequences > 0 && job.has_logits() && job.recipe.residual.part == nullptr;
  job.check_ram(surveyed);
  ThreadPool pool(request.threads);
  use_one_torch_thread();
  const auto calibration = job.calibrate(pool, progress);
  const CalibrationSet* text = calibration ? &*calibration : nullptr;
  TemporaryWorkspace temporary("plan");
  job.transform(temporary.workspace, text, pool, progress);
  const Context context = job.context(pool, progress, temporary.workspace, text, surveyed);
  const auto survey_start = Clock::now();
  std::optional<Survey> survey;
  if (surveyed) survey = job.survey(context, *text, target_bits(job, request.budget));
  const double survey_seconds = seconds_since(survey_start);
  const Plan plan = job.plan(context, request.budget, text, survey ? &*survey : nullptr);
  CompressReport report = job.report(plan);
  report.planned = true;
  if (survey) report.survey_seconds = survey_seconds;
  report.total_seconds = seconds_since(start);
  // Where there is no choice, compress needs no survey.
  report.estimated_seconds =
      report.total_seconds - (job.has_choice() ? 0 : survey_seconds) + plan.seconds;
  report.estimated_memory_bytes = job.memory(text, job.has_choice()).peak_bytes(request.ram_bytes);
  report.peak_memory_bytes = peak_memory_bytes();
  return report;
}

CompressReport compress(const CompressRequest& request, Progress& progress) {
  const auto start = Clock::now();
  const Recipe recipe = load_recipe(request.recipe, request.overrides);
  if (!recipe.tuning.empty()) return compress_tuned(request, recipe, progress);
  Job job(request);
  const bool surveyed = job.has_choice();
  job.check_budget(request.budget);
  job.check_ram(surveyed);
  job.check_output();
  ThreadPool pool(request.threads);
  use_one_torch_thread();
  const std::filesystem::path partial = request.output.string() + ".partial";
  Workspace workspace(partial, job.key(), request.restart);

  const auto calibration = job.calibrate(pool, progress);
  const CalibrationSet* text = calibration ? &*calibration : nullptr;
  job.transform(workspace, text, pool, progress);
  const Context context = job.context(pool, progress, workspace, text, surveyed);
  const auto survey_start = Clock::now();
  std::optional<Survey> survey;
  if (surveyed) survey = job.survey(context, *text, target_bits(job, request.budget));
  const double survey_seconds = seconds_since(survey_start);
  const Plan plan = job.plan(context, request.budget, text, survey ? &*survey : nullptr);
  CompressReport report = job.report(plan);
  if (survey) report.survey_seconds = survey_seconds;
  report.estimated_seconds = seconds_since(start) + plan.seconds;
  report.estimated_memory_bytes = job.memory(text, surveyed).peak_bytes(request.ram_bytes);
  report.resumed = workspace.resumed();
  report.earlier_seconds = workspace.earlier_seconds();

  const auto encode_start = Clock::now();
  const std::vector<EncodedMatrix> encoded =
      encode(context, job.blocks, job.tasks, job.recipe, plan, text);
  report.encode_seconds = seconds_since(encode_start);

  CheckpointContents contents;
  if (job.recipe.activations) progress.begin("activations", 1);
  const CodedActivations network = coded_network(job, encoded, text, pool);
  if (job.recipe.activations) {
    report.coded_activations = network.values;
    report.corrected_biases = network.biases;
    report.arithmetic = network_arithmetic(network.model);
    progress.end();
  }
  contents.graph = network.model.graph;
  contents.config = job.model.config;
  contents.parameters = network.model.parameters;
  contents.tokenizer_files = job.model.tokenizer_files;
  contents.entropy_coder = job.recipe.entropy_coder.part;
  contents.threads = request.threads;
  contents.after_read = [](const CodedTensor& tensor) { release_pages(tensor.bytes); };
  contents.metadata["recipe"] = job.recipe.definition;
  contents.metadata["seed"] = request.seed;
  if (request.images) {
    contents.metadata["preprocessing"] = request.images->preprocessing.to_json();
    contents.metadata["label_offset"] = request.images->label_offset;
  }
  contents.metadata["original"] = {{"bytes", plan.original_bytes}, {"weights", plan.weights}};
  if (calibration) {
    contents.metadata["calibration"] = calibration->description;
    if (request.images && job.has_logits()) {
      report.accuracy = measure_accuracy(
          network.model, job.original, probe_images(*calibration, *request.images), pool, progress);
      contents.metadata["quality"] = report.accuracy->to_json();
    } else if (!request.images) {
      report.quality =
          measure_quality(job, contents.parameters, probe_windows(*calibration), pool, progress);
      contents.metadata["quality"] = report.quality->to_json();
    }
    if (plan.predicted_kl_nats) contents.metadata["predicted_kl_nats"] = *plan.predicted_kl_nats;
  }
  // It gets its name when everything is right: what stood there before stays until then.
  const std::filesystem::path unchecked = workspace.folder() / "checkpoint.bin";
  job.format.write(unchecked, contents, request.model.stem().string());
  check_written(unchecked, job, plan, encoded, contents, report, pool, progress);
  report.file_bytes = std::filesystem::file_size(unchecked);
  if (request.budget.file_bytes && report.file_bytes > *request.budget.file_bytes) {
    fail(ErrorCode::kImpossibleBudget,
         "the file has {} bytes, more than the {} that were asked for", report.file_bytes,
         *request.budget.file_bytes);
  }
  move_file(unchecked, request.output);
  workspace.remove();
  report.total_seconds = seconds_since(start);
  report.peak_memory_bytes = peak_memory_bytes();
  return report;
}

double CompressReport::bpw() const {
  return 8 * static_cast<double>(tensor_bytes) / static_cast<double>(plan.weights);
}

json CompressReport::to_json() const {
  json result = {
      {"recipe", recipe},
      {"weights", plan.weights},
      {"original", {{"tensor_bytes", plan.original_bytes}, {"bpw", plan.original_bpw()}}},
      {"compressed",
       {{"tensor_bytes", tensor_bytes},
        {"packed_bytes", plan.tensor_bytes},
        {"bpw", bpw()},
        {planned ? "file_bytes_at_most" : "file_bytes", file_bytes}}},
      {"survey_seconds", survey_seconds},
      {"encode_seconds", encode_seconds},
      {"total_seconds", total_seconds},
      {"estimated_seconds", estimated_seconds},
      {"estimated_peak_memory_bytes", estimated_memory_bytes},
      {"peak_memory_bytes", peak_memory_bytes},
      {"resumed", resumed},
      {"earlier_seconds", earlier_seconds}};
  if (plan.predicted_kl_nats) result["predicted_kl_nats"] = *plan.predicted_kl_nats;
  if (quality) result["quality"] = quality->to_json();
  if (accuracy) result["quality"] = accuracy->to_json();
  if (arithmetic) {
    result["activations"] = {{"coded", coded_activations},
                             {"corrected_biases", corrected_biases},
                             {"arithmetic", arithmetic->to_json()}};
  }
  const auto anchor_json = [](const Anchor& a) {
    return json{{"block", a.block},
                {"predicted_kl_nats", a.predicted_kl_nats},
                {"measured_kl_nats", a.measured_kl_nats}};
  };
  for (const Anchor& a : plan.anchors.blocks) result["anchors"].push_back(anchor_json(a));
  if (plan.predicted_kl_nats) result["joint_anchor"] = anchor_json(plan.anchors.joint);
  for (const MatrixReport& m : matrices) {
    json row = {{"name", m.name},     {"role", m.role},   {"shape", m.shape},
                {"scheme", m.scheme}, {"bytes", m.bytes}, {"bpw", m.bpw}};
    if (m.predicted_kl_nats) row["predicted_kl_nats"] = *m.predicted_kl_nats;
    if (m.relative_mse) row["relative_mse"] = *m.relative_mse;
    if (!m.restriction.empty()) row["restriction"] = m.restriction;
    result["matrices"].push_back(std::move(row));
  }
  return result;
}

}  // namespace bitsmith
