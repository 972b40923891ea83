#include "pipeline/importance.h"

#include <algorithm>

#include "core/error.h"
#include "formats/gguf_config.h"
#include "formats/gguf_names.h"
#include "formats/json_text.h"
#include "formats/plain_model.h"
#include "pipeline/measured_inputs.h"

namespace bitsmith {

ImportanceMatrix measure_importance(const ImportanceRequest& request, Progress& progress) {
  Model model = open_model(request.model);
  settle_buffers(model);
  check_is_plain(model, "importance matrices are for");
  const std::string architecture = gguf_architecture(model.config);
  ThreadPool pool(request.threads);
  use_one_torch_thread();
  CalibrationSet calibration = make_calibration_set(model, request.calibration, pool, progress);
  calibration.count =
      std::min(request.calibration.sequences, calibration.count + calibration.probes);
  calibration.probes = 0;
  TemporaryWorkspace temporary("imatrix");
  const Context context{
      model, pool, progress, temporary.workspace, at::kCPU, 0, request.calibration.ram_bytes / 2};
  MeasuredInputs inputs(context, calibration, false);

  ImportanceMatrix result;
  result.datasets = {request.calibration.text.empty()
                         ? "sampled from the model"
                         : request.calibration.text.filename().string()};
  result.chunk_count = calibration.count;
  result.chunk_size = calibration.length;
  const auto tokens = static_cast<float>(calibration.count * calibration.length);
  for (size_t n = 0; n < model.graph.nodes.size(); ++n) {
    const Node& node = model.graph.nodes[n];
    if (node.op != "linear") continue;
    const std::string& weight = model.graph.value(node.inputs[1]).name;
    const auto name = gguf_tensor_name(weight, architecture);
    if (!name) {
      fail(ErrorCode::kUnsupported, "GGUF has no name for the parameter {}", quoted_name(weight));
    }
    ImportanceMatrix::Entry entry{1, {}, {tokens}};
    for (const double square : inputs.mean_squares(n)) {
      entry.sums.push_back(static_cast<float>(square * double{tokens}));
    }
    result.entries[*name] = std::move(entry);
  }
  return result;
}

ImportanceMatrix merged(const std::vector<ImportanceMatrix>& parts) {
  BITSMITH_ASSERT(!parts.empty());
  // The older format counts chunks, of a size that it does not say: that of the others.
  int64_t chunk_size = 0;
  for (const ImportanceMatrix& part : parts) chunk_size = std::max(chunk_size, part.chunk_size);
  ImportanceMatrix result;
  result.chunk_size = chunk_size;
  for (const ImportanceMatrix& part : parts) {
    const float factor =
        part.chunk_size == 0 && chunk_size > 0 ? static_cast<float>(chunk_size) : 1;
    for (const auto& [name, counted] : part.entries) {
      ImportanceMatrix::Entry entry = counted;
      for (float& sum : entry.sums) sum *= factor;
      for (float& count : entry.counts) count *= factor;
      const auto found = result.entries.find(name);
      if (found == result.entries.end()) {
        result.entries[name] = entry;
        continue;
      }
      ImportanceMatrix::Entry& sum = found->second;
      if (sum.matrices != entry.matrices || sum.sums.size() != entry.sums.size()) {
        fail(ErrorCode::kInvalidArgument,
             "{} has {} inputs in one file and {} in another: they are of different models",
             quoted_name(name), sum.inputs(), entry.inputs());
      }
      for (size_t i = 0; i < entry.sums.size(); ++i) sum.sums[i] += entry.sums[i];
      for (size_t i = 0; i < entry.counts.size(); ++i) sum.counts[i] += entry.counts[i];
    }
    result.datasets.insert(result.datasets.end(), part.datasets.begin(), part.datasets.end());
    result.chunk_count += part.chunk_count;
  }
  return result;
}

}  // namespace bitsmith
