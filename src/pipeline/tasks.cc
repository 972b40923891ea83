#include "pipeline/tasks.h"

#include <algorithm>

#include "evaluation/network_classifier.h"
#include "pipeline/output_format.h"

namespace bitsmith {
namespace {

// Whether two nodes multiply the same rows of numbers.
bool same_operand(const Graph& graph, const Node& a, const Node& b) {
  if (a.op != b.op || a.inputs[0] != b.inputs[0]) return false;
  if (a.op != "conv") return true;
  const Shape& kernel = graph.value(a.inputs[1]).shape;
  const Shape& other = graph.value(b.inputs[1]).shape;
  if (!std::equal(kernel.begin() + 1, kernel.end(), other.begin() + 1, other.end())) return false;
  for (const char* name : {"pads", "strides", "dilations"}) {
    if (a.integers(name) != b.integers(name)) return false;
  }
  return a.integer("groups") == b.integer("groups");
}

// Rows of the output for each token or image.
int64_t positions_of(const Graph& graph, const Node& node, bool table) {
  if (table) return 1;
  int64_t count = 1;
  for (const int64_t extent : graph.value(node.outputs[0]).shape)
    count *= std::max<int64_t>(extent, 1);
  return count / graph.value(node.inputs[1]).shape[0];
}

}  // namespace

const OutputFormat& checkpoint_format() {
  return Registry<OutputFormat>::instance().get("bitsmith");
}

std::vector<MatrixTask> find_matrices(const Model& model, const std::vector<Block>& blocks,
                                      const std::vector<Scheme>& candidates,
                                      const OutputFormat& format) {
  const Graph& graph = model.graph;
  std::vector<MatrixTask> tasks;
  for (size_t b = 0; b < blocks.size(); ++b) {
    for (size_t n = blocks[b].begin; n < blocks[b].end; ++n) {
      const Node& node = graph.nodes[n];
      const bool table = node.op == "embedding";
      if (!table && node.op != "linear" && node.op != "conv") continue;
      const ValueId id = node.inputs[1];
      if (graph.value(id).kind != ValueKind::kParameter) continue;
      const auto first = std::ranges::find_if(
          graph.nodes, [&](const Node& other) { return same_operand(graph, other, node); });
      const MatrixUse use{n,
                          b,
                          table,
                          node.inputs[0],
                          static_cast<size_t>(first - graph.nodes.begin()),
                          positions_of(graph, node, table),
                          node.op == "conv" ? node.integer("groups") : 1};
      const auto found = std::ranges::find(tasks, id, &MatrixTask::id);
      if (found != tasks.end()) {
        found->uses.push_back(use);
        continue;
      }
      MatrixTask task;
      task.id = id;
      task.tensor = &model.parameter(graph.value(id).name);
      task.uses = {use};
      set_candidates(task, candidates, format);
      tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

void set_candidates(MatrixTask& task, const std::vector<Scheme>& candidates,
                    const OutputFormat& format) {
  const Scheme kept = format.kept(*task.tensor);
  task.schemes.clear();
  std::vector<std::string> replaced;
  for (const Scheme& candidate : candidates) {
    const auto fitting = format.fitting(candidate, task.shape());
    if (!fitting || fitting->codec != candidate.codec) replaced.push_back(candidate.label());
    task.schemes.push_back(fitting.value_or(kept));
  }
  task.schemes.push_back(kept);
  task.bytes.clear();
  for (const Scheme& scheme : task.schemes) {
    task.bytes.push_back(format.stored_bytes(task.shape(), scheme));
  }
  task.restriction = replaced.empty() ? ""
                                      : fmt::format("rows of {} do not fit {}", task.shape().cols,
                                                    fmt::join(replaced, ", "));
}

uint64_t untouched_bytes(const Model& model, const std::vector<MatrixTask>& tasks,
                         const OutputFormat& format) {
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : model.parameters) {
    if (std::ranges::find(tasks, &tensor, &MatrixTask::tensor) != tasks.end()) continue;
    bytes += format.stored_bytes(tensor.matrix(), format.kept(tensor));
  }
  return bytes;
}

const Chosen<Solver>& solver_for(const Recipe& recipe, const MatrixTask& task) {
  const bool multiplied =
      std::ranges::any_of(task.uses, [](const MatrixUse& u) { return !u.table; });
  return multiplied ? recipe.matrix_solver : recipe.table_solver;
}

std::vector<Block> find_blocks_to_logits(const Graph& graph) {
  std::vector<Block> blocks = find_blocks(graph);
  const ValueId logits = logits_of(graph);
  if (logits == graph.outputs[0]) return blocks;
  Block& last = blocks.back();
  last.end = producer_end(graph, last, logits);
  last.output = logits;
  BITSMITH_ASSERT(last.end > last.begin);
  return blocks;
}

size_t producer_end(const Graph& graph, const Block& block, ValueId value) {
  for (size_t n = block.begin; n < block.end; ++n) {
    if (graph.nodes[n].outputs[0] == value) return n + 1;
  }
  return block.begin;
}

}  // namespace bitsmith
