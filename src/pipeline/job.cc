#include "pipeline/job.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/output_file.h"
#include "evaluation/network_classifier.h"
#include "formats/checkpoint_metadata.h"
#include "formats/fold_batch_norm.h"
#include "formats/gguf_config.h"
#include "formats/gguf_names.h"
#include "formats/imatrix.h"
#include "formats/json_text.h"
#include "images/subset.h"
#include "pipeline/measured_inputs.h"
#include "pipeline/rewrite.h"
#include "text/corpus.h"

namespace bitsmith {
namespace {

using nlohmann::json;

at::Device device_named(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  if (name != "cuda") {
    fail(ErrorCode::kInvalidArgument, "--device must be cpu or cuda, it is '{}'", name);
  }
  if (!at::hasCUDA()) {
    fail(
        ErrorCode::kInvalidArgument,
        "--device cuda: this build's libtorch has no CUDA or there is no GPU; use --device cpu, or "
        "build against a CUDA libtorch with CMAKE_PREFIX_PATH");
  }
  return at::Device(at::kCUDA, 0);
}

uint64_t smallest_bytes(const Job& job) {
  uint64_t bytes = untouched_bytes(job.model, job.tasks, job.format);
  for (const MatrixTask& task : job.tasks) bytes += *std::ranges::min_element(task.bytes);
  return bytes;
}

// The files that the model lies in, without what was rearranged in memory (rows of GGUF).
std::vector<std::filesystem::path> named_files(const Model& model) {
  std::vector<std::filesystem::path> paths;
  for (const auto& file : model.files) {
    if (!file->path().empty()) paths.push_back(file->path());
  }
  return paths;
}

// Throws kCorrupt, naming the tensor, if a weight is not finite. Reads the whole model once.
void check_weights(const Model& model, ThreadPool& pool, Progress& progress) {
  progress.begin("check weights", static_cast<double>(model.parameter_bytes()));
  double done = 0;
  for (const auto& [name, tensor] : model.parameters) {
    progress.update(done, name);
    check_finite(tensor, pool);
    done += static_cast<double>(tensor.bytes.size());
  }
  progress.end();
}

Model opened(const std::filesystem::path& path) {
  Model model = open_model(path);
  settle_buffers(model);
  return model;
}

Model with_batch_norms_folded(Model model) {
  fold_batch_norms(model);
  settle_buffers(model);
  return model;
}

// For each weight, beside what a solver is given and returns.
int64_t solver_scratch_bytes(const Recipe& recipe, bool knows_inputs) {
  return std::max(recipe.matrix_solver.part->scratch_bytes(knows_inputs),
                  recipe.table_solver.part->scratch_bytes(false));
}

// Whether the transforms read statistics; the first one then does.
bool needs_statistics(const Recipe& recipe) {
  if (recipe.transforms.empty()) return false;
  const Chosen<Transform>& first = recipe.transforms.front();
  return first.part->needs_statistics(first.options);
}

// What the transforms of a recipe make of a model.
//   inputs, codes: as in Network; nothing while the job is planned
Network transformed(const Model& model, const Recipe& recipe, LayerInputs* inputs,
                    const std::map<std::string, Scheme>& codes, int threads) {
  Network network(model);
  if (recipe.transforms.empty()) return network;
  network.layer_inputs = inputs;
  network.codes = codes;
  ThreadPool pool(threads);
  for (const Chosen<Transform>& transform : recipe.transforms) {
    transform.part->apply(network, transform.options, pool);
  }
  return network;
}

// What the importance matrix says of each task. It takes the place of calibration: the recipe then
// needs no text.
void take_importance(Job& job) {
  const CompressRequest& r = job.request;
  if (!r.calibration.empty()) {
    fail(ErrorCode::kInvalidArgument, "--imatrix is instead of --calibration: leave one out");
  }
  if (job.has_choice()) {
    fail(
        ErrorCode::kInvalidArgument,
        "an importance matrix does not say which matrix deserves more bits: name one kind of code, "
        "as with --to gguf --type Q4_K_M or --recipe gptq");
  }
  if (job.recipe.activations || !job.recipe.transforms.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "recipe '{}' needs more than an importance matrix: name a --calibration text",
         job.recipe.id);
  }
  const ImportanceMatrix matrix = open_imatrix(r.imatrix);
  const std::string architecture = gguf_architecture(job.original.config);
  for (const MatrixTask& task : job.tasks) {
    std::vector<float>& squares = job.input_squares.emplace_back();
    if (task.of_residual) continue;
    if (std::ranges::all_of(task.uses, [](const MatrixUse& use) { return use.table; })) continue;
    const std::string& name = task.tensor->name;
    const std::string in_file = gguf_tensor_name(name, architecture).value_or(name);
    const auto entry = matrix.entries.find(in_file);
    if (entry == matrix.entries.end()) {
      // llama-imatrix leaves the head out, unless it is asked for it.
      if (in_file == "output.weight" || in_file == "token_embd.weight") continue;
      fail(ErrorCode::kNotFound, "'{}' says nothing of {}: it is of another model",
           r.imatrix.string(), quoted_name(in_file));
    }
    if (entry->second.matrices != 1 || entry->second.inputs() != task.shape().cols) {
      fail(ErrorCode::kCorrupt, "'{}': {} has {} inputs, the model's {}: it is of another model",
           r.imatrix.string(), quoted_name(in_file), entry->second.inputs(), task.shape().cols);
    }
    squares = entry->second.mean_squares(0);
  }
  job.recipe.sequences = 0;
}

}  // namespace

nlohmann::json file_identity(const std::filesystem::path& path) {
  std::error_code error;
  const bool folder = std::filesystem::is_directory(path, error);
  const auto size = folder ? 0 : std::filesystem::file_size(path, error);
  const auto time =
      error ? std::filesystem::file_time_type() : std::filesystem::last_write_time(path, error);
  if (error) {
    fail(ErrorCode::kNotFound, "'{}' cannot be read: {}", path.string(), error.message());
  }
  return {std::filesystem::absolute(path).string(), size,
          static_cast<int64_t>(time.time_since_epoch().count())};
}

Job::Job(const CompressRequest& r)
    : request(r),
      format(Registry<OutputFormat>::instance().get(r.format)),
      recipe(load_recipe(r.recipe, r.overrides)),
      original(opened(r.model)),
      folded(with_batch_norms_folded(original)),
      network(transformed(folded, recipe, nullptr, {}, r.threads)),
      model(with_residual_branches(
          with_rounded_tokens(rewritten_model(folded, network), recipe.token_bits), recipe,
          branches)),
      blocks(find_blocks_to_logits(model.graph)),
      tasks(find_matrices(model, blocks, {})),
      device(device_named(r.device)) {
  if (tasks.empty()) {
    fail(ErrorCode::kUnsupported, "'{}' has no matrices to compress", r.model.string());
  }
  if (!recipe.tuning.empty()) {
    fail(ErrorCode::kUnsupported,
         "the recipe '{}' trains: its size and quality are known when it has; use compress",
         recipe.id);
  }
  const auto uniform =
      r.type.empty() ? std::vector<Scheme>{} : format.named_schemes(r.type, model, tasks);
  if (!uniform.empty()) recipe.candidates = {uniform.front()};
  format.check(model, recipe);
  join_residual_tasks(branches, format, tasks);
  for (size_t t = 0; t < tasks.size(); ++t) {
    if (tasks[t].of_residual) continue;
    set_candidates(tasks[t], uniform.empty() ? candidates_of(t) : std::vector{uniform[t]}, format);
  }
  if (recipe.activations) {
    const Model planned = with_activation_nodes(model, *recipe.activations);
    for (const auto& [name, tensor] : planned.parameters) {
      if (model.parameters.contains(name)) continue;
      activation_bytes += format.stored_bytes(tensor.matrix(), tensor.scheme);
    }
    overhead_bytes = format.overhead_bytes(planned, recipe);
  } else {
    overhead_bytes = format.overhead_bytes(model, recipe);
  }
  if (recipe.residual.part != nullptr) {
    recipe.residual.part->check(recipe.residual.options,
                                recipe.sequences > 0 || !r.imatrix.empty());
  }
  if (!r.imatrix.empty()) take_importance(*this);
  if (has_choice() && recipe.sequences == 0) {
    fail(ErrorCode::kInvalidArgument,
         "recipe '{}' has a choice of codes but no [calibrate] section to judge them by",
         recipe.id);
  }
  if (has_choice() && !has_logits()) {
    fail(ErrorCode::kUnsupported,
         "'{}' has {} outputs: what a code costs is predicted for classifiers, which have one; use "
         "a "
         "recipe without a choice of codes, such as gptq",
         r.model.string(), original.graph.outputs.size());
  }
  if (!r.calibration.empty() && recipe.sequences == 0) {
    fail(ErrorCode::kInvalidArgument,
         "recipe '{}' reads no calibration text or images: leave out --calibration", recipe.id);
  }
  // A text that cannot be read, at once.
  if (!r.calibration.empty() && !r.images) read_text(r.calibration);
}

std::vector<Scheme> Job::candidates_of(size_t t) const {
  const MatrixTask& task = tasks[t];
  const Shape& shape = task.tensor->shape;
  int64_t weights = 0;
  size_t last = 0;
  for (size_t other = 0; other < tasks.size(); ++other) {
    if (tasks[other].of_residual) continue;
    weights += tasks[other].shape().rows * tasks[other].shape().cols;
    last = other;
  }
  LayerTraits layer;
  layer.is_end = t == 0 || t == last;
  layer.is_depthwise = shape.size() > 2 && shape[1] == 1 && task.uses.front().groups > 1;
  layer.is_small = is_small_layer(task.shape().rows * task.shape().cols, weights);
  return recipe.candidates_for(layer);
}

std::optional<uint64_t> Job::matrix_budget(const Budget& budget) const {
  const auto bytes = parameter_budget(original, budget, overhead_bytes);
  if (!bytes) return bytes;
  return *bytes - std::min(*bytes, activation_bytes);
}

json Job::key() const {
  json files = json::array();
  for (const auto& path : named_files(original)) files.push_back(file_identity(path));
  json result = {{"version", BITSMITH_VERSION}, {"files", files},       {"config", model.config},
                 {"recipe", recipe.definition}, {"seed", request.seed}, {"device", request.device},
                 {"format", request.format},    {"type", request.type}};
  if (request.budget.bits) result["bits"] = *request.budget.bits;
  if (request.budget.file_bytes) result["file_bytes"] = *request.budget.file_bytes;
  if (!request.calibration.empty()) result["calibration"] = file_identity(request.calibration);
  if (!request.imatrix.empty()) result["imatrix"] = file_identity(request.imatrix);
  if (request.images) {
    result["preprocessing"] = request.images->preprocessing.to_json();
    result["images"] = request.images->dataset->size();
  }
  for (const auto& [name, content] : model.tokenizer_files) {
    result["tokenizer"][name] = checkpoint::checksum(std::as_bytes(std::span(content)));
  }
  return result;
}

bool Job::has_logits() const {
  return is_language_model(original.graph) || original.graph.outputs.size() == 1;
}

CalibrationRequest Job::calibration_request() const {
  return {request.calibration, recipe.sequences,  recipe.length,
          request.seed,        request.ram_bytes, request.images ? &*request.images : nullptr};
}

MemoryEstimate Job::memory(const CalibrationSet* calibration, bool surveyed) const {
  const bool knows_inputs = recipe.sequences > 0 || !input_squares.empty();
  MemoryEstimate estimate = estimate_memory(
      model, blocks, tasks,
      {calibration, request.calibration.empty(), surveyed, needs_statistics(recipe),
       request.threads > 0 ? request.threads : ThreadPool::processors(),
       solver_scratch_bytes(recipe, knows_inputs), !input_squares.empty(), &recipe.residual});
  if (estimate.model_bytes > 0) estimate.model_bytes = original.parameter_bytes();  // it samples
  return estimate;
}

void Job::check_ram(bool surveyed) const {
  std::optional<CalibrationSet> sizes;
  if (recipe.sequences > 0) sizes = plan_calibration(original, calibration_request());
  check_memory(memory(sizes ? &*sizes : nullptr, surveyed), request.ram_bytes);
}

std::optional<CalibrationSet> Job::calibrate(ThreadPool& pool, Progress& progress) const {
  std::optional<CalibrationSet> set;
  const auto make = [&] {
    if (recipe.sequences == 0) return;
    set = make_calibration_set(original, calibration_request(), pool, progress);
  };
  // A bad text costs less to find than a bad weight; a model with a bad weight writes no text.
  const bool has_text = !request.calibration.empty();
  if (has_text) make();
  check_weights(original, pool, progress);
  if (!has_text) make();
  return set;
}

void Job::transform(Workspace& workspace, const CalibrationSet* calibration, ThreadPool& pool,
                    Progress& progress) {
  if (!network.changed()) return;
  std::function<Network()> informed;
  if (needs_statistics(recipe)) {
    informed = [&, this] {
      const Context context{folded,
                            pool,
                            progress,
                            workspace,
                            device,
                            request.seed,
                            memory(calibration, has_choice()).activation_bytes(request.ram_bytes)};
      MeasuredInputs inputs(context, *calibration);
      std::map<std::string, Scheme> codes;
      for (const MatrixTask& task : tasks) {
        if (!task.stays(0)) codes[task.tensor->name] = task.schemes.front();
      }
      return transformed(folded, recipe, &inputs, codes, request.threads);
    };
  }
  write_changed_parameters(folded, network, workspace.folder(), pool, progress, model, informed);
}

void Job::check_output() const { check_output_of(original, request.output); }

void check_output_of(const Model& model, const std::filesystem::path& output) {
  check_writable(output);
  for (const auto& path : named_files(model)) {
    std::error_code different;
    if (std::filesystem::equivalent(path, output, different)) {
      fail(ErrorCode::kInvalidArgument,
           "the output '{}' is a file of the model itself; name another", output.string());
    }
  }
}

Context Job::context(ThreadPool& pool, Progress& progress, Workspace& workspace,
                     const CalibrationSet* calibration, bool surveyed) const {
  return {model,
          pool,
          progress,
          workspace,
          device,
          request.seed,
          memory(calibration, surveyed).activation_bytes(request.ram_bytes),
          input_squares.empty() ? nullptr : &input_squares};
}

void Job::check_budget(const Budget& budget) const {
  if (recipe.residual.part != nullptr && (budget.bits || budget.file_bytes)) {
    fail(ErrorCode::kInvalidArgument,
         "recipe '{}' has a [residual], whose size follows from its options: leave out --bits and "
         "--size",
         recipe.id);
  }
  const auto bytes = matrix_budget(budget);
  if (!bytes && has_choice()) {
    fail(ErrorCode::kInvalidArgument,
         "recipe '{}' chooses among {} ways to code each tensor; say how large the result may be, "
         "with "
         "--bits 3.0 or --size 180MB",
         recipe.id, recipe.candidates.size());
  }
  const uint64_t smallest = smallest_bytes(*this);
  if (bytes && smallest > *bytes) {
    const double weights = static_cast<double>(original.parameter_count());
    fail(ErrorCode::kImpossibleBudget,
         "the budget leaves {} bytes for parameters ({:.3f} bits per weight); the smallest that "
         "recipe "
         "'{}' can make is {} bytes: ask for at least --bits {:.3f} or --size {}B",
         *bytes, 8 * static_cast<double>(*bytes) / weights, recipe.id, smallest,
         std::ceil(8000 * static_cast<double>(smallest) / weights) / 1000,
         smallest + overhead_bytes);
  }
}

Survey Job::survey(const Context& context, const CalibrationSet& calibration, double bits) const {
  return run_survey(context, blocks, tasks, recipe, calibration, bits);
}

Plan Job::plan(const Context& context, const Budget& budget, const CalibrationSet* calibration,
               const Survey* survey) const {
  Plan plan = make_plan(model, tasks, recipe, matrix_budget(budget), survey, format);
  plan.tensor_bytes += activation_bytes;
  plan.original_bytes = original.parameter_bytes();
  plan.weights = original.parameter_count();
  const WorkTimes times =
      survey != nullptr ? survey->times : sample_times(context, blocks, tasks, recipe, calibration);
  plan.block_seconds =
      coding_seconds(model.graph, blocks, tasks, plan.picks, times, calibration != nullptr);
  plan.seconds = finishing_seconds(times, calibration);
  for (const double seconds : plan.block_seconds) plan.seconds += seconds;
  return plan;
}

std::map<std::string, CodedTensor> Job::parameters(
    const std::vector<EncodedMatrix>& encoded) const {
  std::map<std::string, CodedTensor> result = model.parameters;
  for (const EncodedMatrix& matrix : encoded) {
    CodedTensor& tensor = result.at(matrix.name);
    tensor.scheme = matrix.scheme;
    tensor.bytes = matrix.file->bytes();
    tensor.entropy_coder.clear();
  }
  return result;
}

CompressReport Job::report(const Plan& plan) const {
  CompressReport result;
  result.plan = plan;
  result.recipe = recipe.id;
  result.tensor_bytes = plan.tensor_bytes;
  result.file_bytes = plan.tensor_bytes + overhead_bytes;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const MatrixTask& task = tasks[t];
    const double weights = static_cast<double>(task.shape().rows * task.shape().cols);
    MatrixReport row;
    row.name = task.tensor->name;
    row.role = model.graph.value(task.id).role;
    row.shape = task.tensor->shape;
    row.scheme = task.schemes[plan.picks[t]].label();
    row.bytes = task.bytes[plan.picks[t]];
    row.bpw = 8 * static_cast<double>(row.bytes) / weights;
    row.restriction = task.restriction;
    if (!plan.losses.empty()) row.predicted_kl_nats = plan.losses[t];
    result.matrices.push_back(std::move(row));
  }
  return result;
}

double target_bits(const Job& job, const Budget& budget) {
  const auto bytes = parameter_budget(job.original, budget, job.overhead_bytes);
  if (!bytes) return 4;
  return 8 * static_cast<double>(*bytes) / static_cast<double>(job.original.parameter_count());
}

Compressed compress_into(const Job& job, const Budget& budget, const CalibrationSet* calibration,
                         Workspace& workspace, ThreadPool& pool, Progress& progress) {
  const Context context = job.context(pool, progress, workspace, calibration, job.has_choice());
  std::optional<Survey> survey;
  if (job.has_choice()) survey = job.survey(context, *calibration, target_bits(job, budget));
  Compressed result;
  result.plan = job.plan(context, budget, calibration, survey ? &*survey : nullptr);
  result.matrices = encode(context, job.blocks, job.tasks, job.recipe, result.plan, calibration);
  return result;
}

Windows probe_windows(const CalibrationSet& calibration) {
  Windows windows;
  for (int64_t i = 0; i < calibration.probes; ++i) {
    windows.windows.push_back(calibration.sequences[static_cast<size_t>(calibration.count + i)]);
  }
  return windows;
}

CalibrationImages probe_images(const CalibrationSet& calibration, const CalibrationImages& all) {
  CalibrationImages probes = all;
  const auto first = calibration.numbers.begin() + calibration.count;
  probes.dataset = select_images(all.dataset, {first, calibration.numbers.end()});
  return probes;
}

CodedActivations coded_network(const Job& job, const std::vector<EncodedMatrix>& matrices,
                               const CalibrationSet* calibration, ThreadPool& pool) {
  Model coded = job.model;
  coded.parameters = job.parameters(matrices);
  if (!job.recipe.activations) return {std::move(coded)};
  return code_activations(coded, job.model, job.original, *job.recipe.activations, calibration,
                          job.request.ram_bytes, pool);
}

Evaluation measure_quality(const Job& job, const std::map<std::string, CodedTensor>& parameters,
                           const Windows& windows, ThreadPool& pool, Progress& progress) {
  const int64_t context = static_cast<int64_t>(windows.windows.front().size());
  const int64_t batch = evaluation_batch_tokens(job.model, context);
  Executor compressed(job.model.graph, parameters, pool, batch);
  Executor original(job.original, pool, batch);
  compressed.release_weights_after_use();
  original.release_weights_after_use();
  return evaluate(compressed, &original, windows, progress);
}

ClassifierEvaluation measure_accuracy(const Model& compressed, const Model& original,
                                      const CalibrationImages& images, ThreadPool& pool,
                                      Progress& progress) {
  NetworkClassifier classifier(compressed, pool);
  NetworkClassifier reference(original, pool);
  const Classifier measured = [&](auto inputs, int64_t count) { return classifier(inputs, count); };
  const Classifier compared = [&](auto inputs, int64_t count) { return reference(inputs, count); };
  AccuracyOptions options;
  options.label_offset = images.label_offset;
  // Images that are not of the network's classes still show what changed.
  std::set<int64_t> labels;
  for (int64_t i = 0; i < images.dataset->size(); ++i) {
    const int64_t label = images.dataset->label(i);
    if (label != ImageDataset::kNoLabel) labels.insert(label + options.label_offset);
  }
  options.labels =
      labels.size() > 1 && *labels.begin() >= 0 && *labels.rbegin() < classifier.classes();
  return evaluate_classifier(measured, &compared, *images.dataset, images.preprocessing, options,
                             pool, progress);
}

}  // namespace bitsmith
