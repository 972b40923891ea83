#include "pipeline/tune.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "core/output_file.h"
#include "core/seconds.h"
#include "core/system_memory.h"
#include "evaluation/network_classifier.h"
#include "formats/fold_batch_norm.h"
#include "images/subset.h"
#include "pipeline/code_activations.h"
#include "pipeline/job.h"
#include "tuning/steps.h"

namespace bitsmith {
namespace {

using nlohmann::json;
void check_request(const CompressRequest& request) {
  if (!request.images) {
    fail(ErrorCode::kInvalidArgument,
         "the recipe '{}' trains: it needs a network of images and --calibration with labelled "
         "images",
         request.recipe);
  }
  if (!request.imatrix.empty()) {
    fail(ErrorCode::kInvalidArgument, "the recipe '{}' trains: it has no use for --imatrix",
         request.recipe);
  }
  if (request.format != "bitsmith") {
    fail(ErrorCode::kInvalidArgument, "the recipe '{}' trains: it writes bitsmith files, not '{}'",
         request.recipe, request.format);
  }
  if (request.budget.bits || request.budget.file_bytes) {
    fail(ErrorCode::kInvalidArgument,
         "the recipe '{}' has no budget: its size follows from the sparsity and the code (see its "
         "[[tune]] tables)",
         request.recipe);
  }
  if (request.device != "cpu") {
    fail(ErrorCode::kInvalidArgument, "the recipe '{}' trains on the cpu, not on '{}'",
         request.recipe, request.device);
  }
}

// Every twentieth image is kept out of training, at most 2000.
struct Split {
  std::shared_ptr<const ImageDataset> training;
  std::shared_ptr<const ImageDataset> probes;
};

Split split_images(const CalibrationImages& images) {
  const int64_t size = images.dataset->size();
  const int64_t step = std::max<int64_t>(20, size / 2000);
  if (size < 40) {
    fail(ErrorCode::kInvalidArgument, "there are {} images; training needs at least 40", size);
  }
  std::vector<int64_t> training;
  std::vector<int64_t> probes;
  for (int64_t i = 0; i < size; ++i) (i % step == step / 2 ? probes : training).push_back(i);
  return {select_images(images.dataset, std::move(training)),
          select_images(images.dataset, std::move(probes))};
}

// The values of all parameters, one after the other.
std::vector<std::byte> values_of(const TunedNetwork& network) {
  std::vector<std::byte> bytes;
  for (const TunedParameter& parameter : network.parameters()) {
    const at::Tensor value = parameter.value().contiguous();
    const auto own =
        std::as_bytes(std::span(value.data_ptr<float>(), static_cast<size_t>(value.numel())));
    bytes.insert(bytes.end(), own.begin(), own.end());
  }
  return bytes;
}

// False if the record does not fit: then the step is done again.
bool set_values(TunedNetwork& network, const std::string& bytes) {
  size_t size = 0;
  for (const TunedParameter& parameter : network.parameters()) {
    size += static_cast<size_t>(parameter.numbers.numel()) * sizeof(float);
  }
  if (bytes.size() != size) return false;
  size_t at = 0;
  for (TunedParameter& parameter : network.parameters()) {
    at::Tensor value = at::empty(parameter.shape);
    const auto own = static_cast<size_t>(value.numel()) * sizeof(float);
    std::memcpy(value.data_ptr<float>(), bytes.data() + at, own);
    parameter.reset(value);
    at += own;
  }
  return true;
}

// The codes of matrices as a record: schemes as JSON, bytes one after the other.
json codes_record(const std::map<std::string, TunedCodes>& codes, std::vector<std::byte>& bytes) {
  json record = json::object();
  for (const auto& [name, coded] : codes) {
    record[name] = {{"scheme", coded.scheme.to_json()}, {"bytes", coded.bytes.size()}};
    bytes.insert(bytes.end(), coded.bytes.begin(), coded.bytes.end());
  }
  return record;
}

std::map<std::string, TunedCodes> codes_from(const json& record, const std::string& bytes) {
  std::map<std::string, TunedCodes> codes;
  size_t at = 0;
  for (const auto& [name, entry] : record.items()) {
    const auto size = entry.at("bytes").get<size_t>();
    if (size > bytes.size() - at) {
      fail(ErrorCode::kCorrupt,
           "the record of a finished step holds {} bytes of codes, '{}' needs {} from {} on: use "
           "--restart",
           bytes.size(), name, size, at);
    }
    const auto own = std::as_bytes(std::span(bytes).subspan(at, size));
    codes[name] = {Scheme::from_json(entry.at("scheme")), {own.begin(), own.end()}};
    at += size;
  }
  return codes;
}

Graph folded_graph(Model model) {
  fold_batch_norms(model);
  return model.graph;
}

// What training takes: for each thread a shard of images with all its activations, their
// derivatives and those of the teacher; each parameter with its derivative from each shard of a
// batch, two moments, and copies in both networks.
MemoryEstimate training_memory(const TunedNetwork& network, const Recipe& recipe, int threads) {
  uint64_t features = 0;  // of an image
  for (const Node& node : network.graph().nodes) {
    uint64_t own = 1;
    for (const int64_t extent : network.graph().value(node.outputs[0]).shape) {
      own *= static_cast<uint64_t>(std::max<int64_t>(1, extent));
    }
    features += own;
  }
  uint64_t weights = 0;
  for (const TunedParameter& parameter : network.parameters()) {
    weights += static_cast<uint64_t>(parameter.numbers.numel());
  }
  int64_t batch = 1;
  for (const auto& step : recipe.tuning) batch = std::max(batch, step.options.integer("batch"));
  const auto shards = static_cast<uint64_t>(ceil_div(batch, kShardImages));
  // Copies in bfloat16 with their derivatives, for each thread; what codes make of the weights.
  uint64_t copies = shards + 6;
  const auto has = [&](const auto& is) { return std::ranges::any_of(recipe.tuning, is); };
  if (has([](const auto& s) { return s.options.text("precision") == "bfloat16"; })) {
    copies += std::min(static_cast<uint64_t>(threads), shards);
  }
  if (has([](const auto& s) { return s.part->info().id == "quantize"; })) copies += 2;
  MemoryEstimate estimate;
  estimate.fixed_bytes = kProgramBytes + 4 * copies * weights +
                         4 * 3 * uint64_t{kShardImages} * static_cast<uint64_t>(threads) * features;
  estimate.reason = "activations of training";
  return estimate;
}

class TuneJob {
 public:
  TuneJob(const CompressRequest& request, const Recipe& recipe, Progress& progress)
      : request_(request),
        recipe_(recipe),
        progress_(progress),
        pool_(request.threads),
        original_(open_model(request.model)),
        graph_(folded_graph(original_)),
        network_(original_),
        teacher_(original_),
        split_(split_images(*request.images)),
        workspace_(checked_output().string() + ".partial", key(), request.restart) {}

  CompressReport run() {
    const auto start = Clock::now();
    CompressReport report;
    report.recipe = recipe_.id;
    const MemoryEstimate memory = training_memory(network_, recipe_, pool_.threads());
    check_memory(memory, request_.ram_bytes);
    if (recipe_.activations) {  // refused before any training, if there is nothing to code
      Model planned = network_.model();
      planned.graph = graph_;
      with_activation_nodes(std::move(planned), *recipe_.activations);
    }
    report.estimated_memory_bytes = memory.fixed_bytes;
    report.resumed = workspace_.resumed();
    report.earlier_seconds = workspace_.earlier_seconds();
    bool compressed = false;  // by an earlier step
    int64_t epoch = 0;
    for (size_t i = 0; i < recipe_.tuning.size(); ++i) {
      const Chosen<TuningStep>& step = recipe_.tuning[i];
      if (step.part->info().id != "train") compressed = true;
      run_step(i, epoch);
      epoch += epochs_of(step);
      if (!compressed) copy_values(network_, teacher_);
    }
    if (!recipe_.candidates.empty() && codes_.empty()) {
      codes_ = code_matrices(network_, schemes(), is_entropy_coded(), pool_);
    }
    report.encode_seconds = seconds_since(start);
    write(report);
    workspace_.remove();
    report.total_seconds = seconds_since(start);
    report.peak_memory_bytes = peak_memory_bytes();
    return report;
  }

 private:
  const std::filesystem::path& checked_output() const {
    check_output_of(original_, request_.output);
    return request_.output;
  }
  bool is_entropy_coded() const { return recipe_.entropy_coder.part != nullptr; }

  // What identifies the job: with the same key the same bytes come out.
  json key() const {
    const CalibrationImages& images = *request_.images;
    return {{"version", BITSMITH_VERSION},
            {"tune", recipe_.definition},
            {"model", file_identity(request_.model)},
            {"images", file_identity(request_.calibration)},
            {"count", images.dataset->size()},
            {"preprocessing", images.preprocessing.to_json()},
            {"label_offset", images.label_offset},
            {"seed", request_.seed}};
  }

  static void copy_values(const TunedNetwork& from, TunedNetwork& to) {
    for (size_t i = 0; i < from.parameters().size(); ++i) {
      to.parameters()[i].reset(from.parameters()[i].value().clone());
    }
  }

  // The recipe's codes for matrices, exceptions applied; empty if it has none.
  std::map<std::string, Scheme> schemes() {
    std::set<ValueId> depthwise;
    for (const Node& node : network_.graph().nodes) {
      if (node.op != "conv" || node.integer("groups") == 1) continue;
      if (network_.graph().value(node.inputs[1]).shape[1] == 1) depthwise.insert(node.inputs[1]);
    }
    std::map<std::string, Scheme> result;
    const std::vector<TunedParameter*> matrices = network_.matrices();
    int64_t weights = 0;
    for (const TunedParameter* matrix : matrices) weights += matrix->numbers.numel();
    for (const TunedParameter* matrix : matrices) {
      LayerTraits layer;
      layer.is_end = matrix == matrices.front() || matrix == matrices.back();
      layer.is_depthwise = depthwise.contains(matrix->id);
      layer.is_small = is_small_layer(matrix->numbers.numel(), weights);
      const auto codes = recipe_.candidates_for(layer);
      if (!codes.empty()) result[matrix->name] = codes.front();
    }
    return result;
  }

  void run_step(size_t index, int64_t epoch) {
    const Chosen<TuningStep>& step = recipe_.tuning[index];
    const std::string name = fmt::format("tune-{}", index);
    if (load_step(name)) return;
    TuningState state{network_,
                      teacher_,
                      *split_.training,
                      request_.images->preprocessing,
                      request_.images->label_offset,
                      schemes(),
                      is_entropy_coded(),
                      request_.seed,
                      epoch,
                      pool_,
                      progress_};
    TuningResult result = run_tuning_step(step, state);
    codes_ = std::move(result.codes);
    history_.push_back({{"id", step.part->info().id},
                        {"steps", result.training.steps},
                        {"loss_nats", result.training.loss},
                        {"training_accuracy", result.training.accuracy},
                        {"kept_weights", result.density.kept},
                        {"weights", result.density.weights}});
    save_step(name);
  }

  bool load_step(const std::string& name) {
    const auto record = workspace_.load(name);
    if (!record) return false;
    constexpr uint64_t kMost = uint64_t{1} << 36;
    const auto file = [&](const std::string& part) {
      return read_file(workspace_.folder() / (name + part + ".bin"), kMost);
    };
    if (record->contains("graph")) reshape(record->at("graph"));
    if (!set_values(network_, file(""))) return false;
    codes_ = codes_from(record->at("codes"), file("-codes"));
    history_ = record->at("history");
    return true;
  }

  void save_step(const std::string& name) {
    std::vector<std::byte> bytes;
    const json codes = codes_record(codes_, bytes);
    workspace_.save_bytes(name, values_of(network_));
    workspace_.save_bytes(name + "-codes", bytes);
    json record = {{"codes", codes}, {"history", history_}};
    if (is_reshaped()) record["graph"] = network_.graph().to_json();
    workspace_.save(name, record);
  }

  // Whether a step took channels out of the network.
  bool is_reshaped() const {
    return !std::ranges::equal(network_.parameters(), teacher_.parameters(), {},
                               &TunedParameter::shape, &TunedParameter::shape);
  }

  // Gives the network the graph of a record; its values are set afterwards.
  void reshape(const json& graph) {
    Model model = network_.model();
    model.graph = Graph::from_json(graph);
    for (const ValueId id : model.graph.parameters()) {
      const Value& value = model.graph.value(id);
      model.parameters.at(value.name).shape = value.shape;
      replace_parameter(model, value.name, at::zeros(value.shape));
    }
    network_ = TunedNetwork(std::move(model));
  }

  // Of the network that is written: the softmax that ended the original ends it.
  Graph written_graph() const {
    if (!is_reshaped()) return graph_;
    Graph graph = network_.graph();
    if (logits_of(graph_) == graph_.outputs[0]) return graph;
    for (const Node& node : graph_.nodes) {  // the softmax
      if (node.outputs[0] != graph_.outputs[0]) continue;
      graph.outputs[0] = graph.add_node(node.op, node.name, {graph.outputs[0]}, node.attributes);
    }
    return graph;
  }

  // Writes, checks and describes the file.
  void write(CompressReport& report) {
    Model tuned = network_.to_model();
    tuned.graph = written_graph();
    for (const auto& [name, coded] : codes_) {
      CodedTensor& tensor = tuned.parameters.at(name);
      tensor.scheme = coded.scheme;
      tensor.bytes = coded.bytes;
    }
    if (recipe_.activations) {
      CodedActivations coded = with_coded_activations(tuned);
      report.coded_activations = coded.values;
      report.arithmetic = network_arithmetic(coded.model);
      tuned = std::move(coded.model);
    }
    CheckpointContents contents;
    contents.graph = tuned.graph;
    contents.config = tuned.config;
    contents.parameters = tuned.parameters;
    contents.entropy_coder = recipe_.entropy_coder.part;
    contents.threads = request_.threads;
    report.accuracy = measure(tuned, original_);
    const ClassifierEvaluation dense = measure(tuned, teacher_.to_model());
    const CalibrationImages& images = *request_.images;
    contents.metadata["recipe"] = recipe_.definition;
    contents.metadata["seed"] = request_.seed;
    contents.metadata["preprocessing"] = images.preprocessing.to_json();
    contents.metadata["label_offset"] = images.label_offset;
    contents.metadata["tuning"] = {{"images", split_.training->size()}, {"steps", history_}};
    contents.metadata["quality"] = report.accuracy->to_json();
    contents.metadata["quality_against_tuned"] = dense.to_json();

    Plan& plan = report.plan;
    plan.original_bytes = original_.parameter_bytes();
    plan.weights = original_.parameter_count();
    const std::filesystem::path unchecked = workspace_.folder() / "checkpoint.bin";
    write_checkpoint(unchecked, contents);
    const Model written = open_checkpoint(unchecked);
    verify_checkpoint(written, progress_);
    for (const auto& [name, tensor] : contents.parameters) {
      if (!std::ranges::equal(written.parameter(name).bytes, tensor.bytes)) {
        fail(ErrorCode::kCorrupt, "'{}': tensor '{}' was not written as it was coded",
             unchecked.string(), name);
      }
    }
    plan.tensor_bytes = written.packed_bytes();
    report.tensor_bytes = written.parameter_bytes();
    report.file_bytes = std::filesystem::file_size(unchecked);
    describe_matrices(written, report);
    move_file(unchecked, request_.output);
  }

  void describe_matrices(const Model& written, CompressReport& report) {
    for (const TunedParameter* matrix : network_.matrices()) {
      const CodedTensor& tensor = written.parameter(matrix->name);
      MatrixReport row;
      row.name = tensor.name;
      row.role = network_.graph().value(matrix->id).role;
      row.shape = tensor.shape;
      row.scheme = tensor.scheme.label();
      row.bytes = tensor.stored_bytes().size();
      row.bpw = 8 * static_cast<double>(row.bytes) / static_cast<double>(matrix->numbers.numel());
      report.matrices.push_back(row);
    }
  }

  // The network with its activations as codes too, by images that it was trained with.
  CodedActivations with_coded_activations(const Model& tuned) {
    CalibrationImages training = *request_.images;
    training.dataset = split_.training;
    CalibrationRequest wanted;
    wanted.sequences = recipe_.sequences;
    wanted.seed = request_.seed;
    wanted.images = &training;
    const CalibrationSet images = make_calibration_set(tuned, wanted, pool_, progress_);
    return code_activations(tuned, tuned, original_, *recipe_.activations, &images,
                            request_.ram_bytes, pool_);
  }

  // Accuracy on the images that were kept apart, by the native executor.
  ClassifierEvaluation measure(const Model& compressed, const Model& against) {
    CalibrationImages probes = *request_.images;
    probes.dataset = split_.probes;
    return measure_accuracy(compressed, against, probes, pool_, progress_);
  }

  const CompressRequest& request_;
  const Recipe& recipe_;
  Progress& progress_;
  ThreadPool pool_;
  Model original_;
  Graph graph_;  // with the softmax that may end it; losses are of its input
  TunedNetwork network_;
  TunedNetwork teacher_;
  Split split_;
  Workspace workspace_;
  std::map<std::string, TunedCodes> codes_;
  json history_ = json::array();
};

}  // namespace

CompressReport compress_tuned(const CompressRequest& request, const Recipe& recipe,
                              Progress& progress) {
  check_request(request);
  use_one_torch_thread();
  return TuneJob(request, recipe, progress).run();
}

}  // namespace bitsmith
