#include "pipeline/memory.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "evaluation/evaluate.h"
#include "reference/executor.h"
#include "report/units.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {
namespace {

constexpr uint64_t kPassSequences = 4;  // whose captured activations run_block() holds at a time

uint64_t weights_of(const MatrixTask& task) {
  return static_cast<uint64_t>(task.shape().rows) * static_cast<uint64_t>(task.shape().cols);
}

// Numbers for each token, or for an image.
uint64_t features(const Value& value) {
  if (value.shape.empty()) return 0;
  uint64_t count = 1;  // < 2^48, see Graph
  for (const int64_t extent : value.shape)
    count *= static_cast<uint64_t>(std::max<int64_t>(1, extent));
  return count;
}

// The sizes of one block that the formulas are made of.
struct BlockNeeds {
  uint64_t parameters = 0;      // bytes, as float32
  uint64_t largest = 0;         // weights of its largest matrix
  uint64_t coding = 0;          // bytes that coding takes, of the matrix that takes most
  uint64_t outputs = 0;         // features of the widest output of a matrix
  uint64_t captured = 0;        // features that matrices multiply, each activation once
  uint64_t most_captured = 0;   // ... of one of these
  uint64_t squares = 0;         // entries of the second moments of all of these
  uint64_t largest_square = 0;  // ... of the widest
  uint64_t made = 0;            // bytes of all activations of one sequence
  uint64_t alive = 0;           // ... that live together in a forward pass, with scratch
  uint64_t scratch = 0;         // the most that one operator takes beside its inputs and output
};

// A matrix as it was, what the codes decode to, the bytes, and what the solver takes.
uint64_t coding_bytes(const MatrixTask& task, const MemoryRequest& request) {
  constexpr uint64_t kKept = 9;
  const uint64_t weights = weights_of(task);
  if (task.residual.empty()) {
    return (kKept + static_cast<uint64_t>(request.scratch_bytes)) * weights;
  }
  const Chosen<Residual>& residual = *request.residual;
  return kKept * weights + static_cast<uint64_t>(residual.part->scratch_bytes(
                               task.shape(), residual.options, request.scratch_bytes));
}

BlockNeeds needs_of(const Model& model, const Block& block, size_t b,
                    const std::vector<MatrixTask>& tasks, uint64_t length,
                    const MemoryRequest& request) {
  const Graph& graph = model.graph;
  BlockNeeds needs;
  std::set<size_t> seen;
  for (const MatrixTask& task : tasks) {
    for (const MatrixUse& use : task.uses) {
      if (use.block != b) continue;
      needs.largest = std::max(needs.largest, weights_of(task));
      needs.coding = std::max(needs.coding, coding_bytes(task, request));
      needs.outputs =
          std::max(needs.outputs, features(graph.value(graph.nodes[use.node].outputs[0])));
      if (use.table || !seen.insert(use.operand).second) continue;
      const uint64_t cols = static_cast<uint64_t>(task.shape().cols);
      const uint64_t captured = cols * static_cast<uint64_t>(use.positions * use.groups);
      needs.captured += captured;
      needs.most_captured = std::max(needs.most_captured, captured);
      needs.squares += cols * cols;
      needs.largest_square = std::max(needs.largest_square, cols * cols);
    }
  }
  std::map<ValueId, size_t> last_use;
  std::set<ValueId> parameters;
  for (size_t n = block.begin; n < block.end; ++n) {
    for (const ValueId id : graph.nodes[n].inputs) {
      if (id == kNoValue) continue;
      last_use[id] = n;
      const Value& value = graph.value(id);
      if (value.kind == ValueKind::kParameter && parameters.insert(id).second) {
        needs.parameters += 4 * static_cast<uint64_t>(element_count(value.shape).value_or(0));
      }
    }
  }
  uint64_t alive = features(graph.value(block.input));
  for (size_t n = block.begin; n < block.end; ++n) {
    const Node& node = graph.nodes[n];
    const ValueId output = node.outputs[0];
    const uint64_t made = features(graph.value(output));
    const ReferenceOperator& op = Registry<ReferenceOperator>::instance().get(node.op);
    const uint64_t scratch =
        op.scratch_bytes != nullptr ? op.scratch_bytes(node, length) : 4 * length * made;
    needs.scratch = std::max(needs.scratch, scratch);
    alive += made;
    needs.made += 4 * length * made;
    needs.alive = std::max(needs.alive, 4 * length * alive + scratch);
    for (const auto& [id, last] : last_use) {
      const Value& value = graph.value(id);
      if (last == n && value.kind == ValueKind::kActivation) alive -= features(value);
    }
  }
  return needs;
}

// What one step holds at one time, in bytes.
struct Phase {
  const char* name = "";
  uint64_t weights = 0;
  uint64_t moments = 0;
  uint64_t activations = 0;

  uint64_t bytes() const { return weights + moments + activations; }
  std::string reason(const std::string& block) const {
    const auto [share, what] =
        std::max({std::pair(weights, "weights as float32"), std::pair(moments, "second moments"),
                  std::pair(activations, "activations")});
    return fmt::format("{} in block '{}', {} of it for {}", name, block, format_bytes(share), what);
  }
};

std::vector<Phase> phases_of(const BlockNeeds& needs, bool last, const MemoryRequest& request) {
  const uint64_t statistics = 16 * needs.largest_square;  // see below
  if (request.calibration == nullptr) {
    return {{"coding", needs.coding, request.known_inputs ? statistics : 0, 0}};
  }
  const auto length = static_cast<uint64_t>(request.calibration->length);
  const auto probes = static_cast<uint64_t>(request.calibration->probes);
  const auto threads = static_cast<uint64_t>(request.threads);
  const uint64_t running = std::min(threads, kPassSequences);
  const auto pass = [&](uint64_t captured) {
    return running * needs.alive + kPassSequences * 4 * length * captured;
  };
  // A second moment is a float64 sum or mean; its factor is float32, twice while it is made. Coding
  // measures one at a time, a survey all of a block.
  std::vector<Phase> phases = {{"coding", needs.parameters + needs.coding, statistics, 0},
                               {"measuring a second moment", needs.parameters,
                                8 * needs.largest_square, pass(needs.most_captured)}};
  if (request.surveyed || request.transformed) {
    phases.push_back(
        {"measuring second moments", needs.parameters, 8 * needs.squares, pass(needs.captured)});
  }
  // The moment, scaled, with its copy in statistics; rows of layers are few.
  if (request.transformed) {
    phases.push_back(
        {"choosing scales", 8 * needs.largest, 8 * needs.squares + 16 * needs.largest_square, 0});
  }
  if (!request.surveyed) return phases;
  phases.push_back({"trying candidates", needs.parameters + 9 * needs.largest,
                    12 * needs.squares + 4 * needs.largest_square, 0});
  // Every activation with its derivative; of logits also probabilities and labels.
  const uint64_t logits = last ? 3 * 4 * length * needs.outputs : 0;
  phases.push_back({"measuring sensitivities", needs.parameters, 0,
                    std::min(threads, probes) * (2 * needs.made + 2 * needs.scratch + logits)});
  // The block as it was, coded, and the difference; the change of one output in both precisions.
  const uint64_t kept_logits = last ? 4 * std::max<uint64_t>(2048, length) * needs.outputs : 0;
  phases.push_back({"measuring anchors", 3 * needs.parameters + 4 * needs.largest, 0,
                    kept_logits + running * std::max(needs.alive, 16 * length * needs.outputs)});
  return phases;
}

// Both networks in the native executor, on a batch of windows or images.
uint64_t quality_bytes(const Model& model, int64_t length, int threads) {
  uint64_t widest = 0;
  for (const Value& value : model.graph.values) {
    if (value.kind == ValueKind::kActivation) widest = std::max(widest, features(value));
  }
  if (is_language_model(model.graph)) {
    return 2 * 4 * 4 * static_cast<uint64_t>(evaluation_batch_tokens(model, length)) * widest;
  }
  // On each thread as many images as fit the cache, or one; weights as they are packed and once
  // decoded.
  const uint64_t images = std::max<uint64_t>(4 * 4 * widest, NetworkExecutor::kPartBytes);
  return 2 * (static_cast<uint64_t>(threads) * images + 8 * model.parameter_count());
}

// Of the images themselves.
uint64_t image_bytes(const CalibrationSet* calibration) {
  if (calibration == nullptr || calibration->input.empty()) return 0;
  return 4 * static_cast<uint64_t>(calibration->count + calibration->probes) *
         static_cast<uint64_t>(*element_count(calibration->input));
}

uint64_t in_memory(uint64_t bytes, uint64_t limit) { return bytes <= limit ? bytes : 0; }

}  // namespace

MemoryEstimate estimate_memory(const Model& model, const std::vector<Block>& blocks,
                               const std::vector<MatrixTask>& tasks, const MemoryRequest& request) {
  const CalibrationSet* calibration = request.calibration;
  const uint64_t length = calibration != nullptr ? static_cast<uint64_t>(calibration->length) : 1;
  MemoryEstimate estimate;
  uint64_t most = 0;
  for (size_t b = 0; b < blocks.size(); ++b) {
    const BlockNeeds needs = needs_of(model, blocks[b], b, tasks, length, request);
    for (const Phase& phase : phases_of(needs, b + 1 == blocks.size(), request)) {
      if (phase.bytes() <= most) continue;
      most = phase.bytes();
      estimate.reason = phase.reason(blocks[b].name);
    }
  }
  if (calibration != nullptr)
    most = std::max(most, quality_bytes(model, calibration->length, request.threads));
  // The pages of a tensor that is being decoded are dropped before its values are needed.
  estimate.fixed_bytes = kProgramBytes + most + image_bytes(calibration);
  if (calibration == nullptr) return estimate;
  // Where the shape changes both activations, before and after, are there.
  uint64_t widest = 0;
  for (size_t b = 0; b + 1 < blocks.size(); ++b) {
    const Value& in = model.graph.value(blocks[b].input);
    const Value& out = model.graph.value(blocks[b].output);
    const bool both = b > 0 && in.shape != out.shape;
    widest = std::max(widest, features(out) + (both ? features(in) : 0));
  }
  const uint64_t sequence_bytes = 4 * length * widest;
  estimate.probes_bytes = static_cast<uint64_t>(calibration->probes) * sequence_bytes;
  estimate.sequences_bytes =
      static_cast<uint64_t>(calibration->count) * sequence_bytes + estimate.probes_bytes;
  if (request.surveyed) estimate.probe_stores = blocks.size();
  if (request.sampled) {
    estimate.model_bytes = model.parameter_bytes();
    estimate.cache_bytes = sequence_cache_bytes(model, calibration->length);
  }
  return estimate;
}

uint64_t MemoryEstimate::activation_bytes(uint64_t ram_bytes) const {
  // A survey has two kinds of stores at a time.
  return std::min(ram_bytes / 4, ram_bytes > fixed_bytes ? (ram_bytes - fixed_bytes) / 2 : 0);
}

uint64_t MemoryEstimate::peak_bytes(uint64_t ram_bytes) const {
  const uint64_t limit = activation_bytes(ram_bytes);
  const uint64_t probe_limit = limit / std::max<uint64_t>(1, probe_stores);
  const uint64_t probes = probe_stores * in_memory(probes_bytes, probe_limit);
  const uint64_t others = std::max(in_memory(sequences_bytes, limit), probes);
  uint64_t peak = fixed_bytes + probes + others;
  if (cache_bytes > 0) {
    const SamplingPlan plan = plan_sampling(model_bytes, cache_bytes, ram_bytes);
    peak = std::max(peak, kProgramBytes + static_cast<uint64_t>(plan.together) * cache_bytes +
                              (plan.release_weights ? 0 : model_bytes));
  }
  return peak;
}

void check_memory(const MemoryEstimate& estimate, uint64_t ram_bytes) {
  if (estimate.fixed_bytes <= ram_bytes) return;
  constexpr uint64_t kMegabyte = 1000000;
  fail(ErrorCode::kImpossibleBudget,
       "--ram of {} is too little: about {} are needed at one time, most for {}; use at least "
       "--ram {}MB, or fewer --threads",
       format_bytes(ram_bytes), format_bytes(estimate.fixed_bytes), estimate.reason,
       (estimate.fixed_bytes + kMegabyte - 1) / kMegabyte);
}

uint64_t sequence_cache_bytes(const Model& model, int64_t length) {
  uint64_t bytes = 0;  // of one position, in binary16
  for (const Node& node : model.graph.nodes) {
    if (node.op != "attention") continue;
    bytes += static_cast<uint64_t>(4 * node.integer("kv_heads") * node.integer("head_dim"));
  }
  return bytes * static_cast<uint64_t>(length);
}

SamplingPlan plan_sampling(uint64_t model_bytes, uint64_t cache_bytes, uint64_t ram_bytes) {
  constexpr uint64_t kMost = 32;
  const uint64_t together = ram_bytes / 4 / std::max<uint64_t>(1, cache_bytes);
  return {static_cast<int64_t>(std::clamp<uint64_t>(together, 1, kMost)),
          model_bytes > ram_bytes / 2};
}

}  // namespace bitsmith
