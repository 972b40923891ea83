#include "pipeline/tasks.h"

#include <algorithm>

namespace bitsmith {

std::vector<MatrixTask> find_matrices(const Model& model, const std::vector<Block>& blocks,
                                      const std::vector<Scheme>& candidates) {
  const Graph& graph = model.graph;
  std::vector<MatrixTask> tasks;
  for (size_t b = 0; b < blocks.size(); ++b) {
    for (size_t n = blocks[b].begin; n < blocks[b].end; ++n) {
      const Node& node = graph.nodes[n];
      const bool table = node.op == "embedding";
      if (!table && node.op != "linear") continue;
      const ValueId id = node.inputs[1];
      const MatrixUse use{n, b, table, node.inputs[0]};
      const auto found = std::ranges::find(tasks, id, &MatrixTask::id);
      if (found != tasks.end()) {
        found->uses.push_back(use);
        continue;
      }
      MatrixTask task;
      task.id = id;
      task.tensor = &model.parameter(graph.value(id).name);
      task.uses = {use};
      for (const Scheme& candidate : candidates) {
        try {
          task.bytes.push_back(candidate.codec->encoded_bytes(task.shape(), candidate.options));
          task.schemes.push_back(candidate);
        } catch (const Error&) {
          task.bytes.push_back(task.tensor->bytes.size());
          task.schemes.push_back(task.tensor->scheme);
        }
      }
      task.schemes.push_back(task.tensor->scheme);
      task.bytes.push_back(task.tensor->bytes.size());
      tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

uint64_t untouched_bytes(const Model& model, const std::vector<MatrixTask>& tasks) {
  uint64_t bytes = model.packed_bytes();
  for (const MatrixTask& task : tasks) bytes -= task.tensor->bytes.size();
  return bytes;
}

const Chosen<Solver>& solver_for(const Recipe& recipe, const MatrixTask& task) {
  const bool multiplied =
      std::ranges::any_of(task.uses, [](const MatrixUse& u) { return !u.table; });
  return multiplied ? recipe.matrix_solver : recipe.table_solver;
}

size_t producer_end(const Graph& graph, const Block& block, ValueId value) {
  for (size_t n = block.begin; n < block.end; ++n) {
    if (graph.nodes[n].outputs[0] == value) return n + 1;
  }
  return block.begin;
}

}  // namespace bitsmith
