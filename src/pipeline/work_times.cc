#include "pipeline/work_times.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "core/seconds.h"
#include "pipeline/block_runner.h"

namespace bitsmith {
namespace {

// The features that the matrices of a block multiply at each position, each operand once, squared
// and summed.
double moment_work(size_t block, const std::vector<MatrixTask>& tasks) {
  std::set<size_t> seen;
  double work = 0;
  for (const MatrixTask& task : tasks) {
    for (const MatrixUse& use : task.uses) {
      if (use.block != block || use.table || !seen.insert(use.operand).second) continue;
      const auto cols = static_cast<double>(task.shape().cols);
      work += cols * cols * static_cast<double>(use.positions * use.groups);
    }
  }
  return work;
}

// Multiplications for each token or image.
double products(const MatrixTask& task, const MatrixUse& use) {
  const MatrixShape shape = task.shape();
  return static_cast<double>(shape.rows) * static_cast<double>(shape.cols) *
         static_cast<double>(use.positions);
}

// Seconds of a forward pass for each unit of forward_work() and sequence, and of second moments for
// each unit of moment_work() and sequence.
struct Rates {
  double forward = 0;
  double moments = 0;
};

Rates sample_passes(const Context& context, const std::vector<Block>& blocks,
                    const std::vector<MatrixTask>& tasks, const CalibrationSet& calibration) {
  constexpr int64_t kSequences = 4;
  const std::vector<double> work = forward_work(blocks, tasks);
  // In a transformer an attention and an MLP; the first block reads tokens, the last is a head.
  const size_t begin = blocks.size() > 3 ? 1 : 0;
  const size_t end = blocks.size() > 3 ? 3 : blocks.size();
  double forward_seconds = 0;
  double both_seconds = 0;
  double forward_units = 0;
  double moment_units = 0;
  for (size_t b = begin; b < end; ++b) {
    const Block& block = blocks[b];
    const BlockParameters parameters(context, block.begin, block.end);
    const SampleInput input = [&](int64_t i) {
      if (b == 0) return sample_tensor(calibration, i % calibration.count);
      return at::randn(sample_shape(context.model.graph, block.input, calibration));
    };
    BlockRun run{&context.model.graph, block.begin, block.end, block.input, {}, block.output};
    const auto keep = [](int64_t, const at::Tensor&) {};
    auto start = Clock::now();
    run_block(context, run, parameters, 0, kSequences, input, keep);
    forward_seconds += seconds_since(start);
    forward_units += work[b] * kSequences;

    std::map<size_t, SecondMoment> moments;  // by operand
    for (const MatrixTask& task : tasks) {
      for (const MatrixUse& use : task.uses) {
        if (use.block != b || use.table || moments.contains(use.operand)) continue;
        SecondMoment& moment = moments.emplace(use.operand, task.shape().cols).first->second;
        run.captures.emplace_back(use.operand, &moment);
      }
    }
    start = Clock::now();
    run_block(context, run, parameters, 0, kSequences, input, keep);
    both_seconds += seconds_since(start);
    moment_units += moment_work(b, tasks) * kSequences;
  }
  const double extra = std::max(0.0, both_seconds - forward_seconds);
  return {forward_seconds / std::max(1.0, forward_units), extra / std::max(1.0, moment_units)};
}

// What solving costs for one length of row.
struct SolveRate {
  double once = 0;  // factoring the second moment
  double row = 0;
};

SolveRate sample_solver(const Context& context, const MatrixTask& task, const Recipe& recipe,
                        bool calibrated) {
  const MatrixShape shape = task.shape();
  const int64_t wanted = std::max<int64_t>(64 * context.pool.threads(),
                                           (int64_t{1} << 18) / std::max<int64_t>(1, shape.cols));
  const MatrixShape sampled{std::min(shape.rows, wanted), shape.cols};
  std::vector<float> weights(static_cast<size_t>(sampled.rows * sampled.cols));
  task.tensor->decode(0, sampled.rows, weights.data());
  std::optional<InputStatistics> statistics;
  const Chosen<Solver>* solver = &solver_for(recipe, task);
  if (calibrated && task.linear()) {
    const auto cols = static_cast<size_t>(shape.cols);
    std::vector<double> identity(cols * cols, 0.0);
    for (size_t i = 0; i < cols; ++i) identity[i * cols + i] = 1;
    statistics.emplace(shape.cols, std::move(identity));
  } else if (solver->part->needs_statistics()) {
    solver = &recipe.table_solver;
  }
  double seconds[2] = {};  // the first run factors, the second finds the factor there
  for (double& s : seconds) {
    const auto start = Clock::now();
    const Solution solution = solver->part->solve(
        {weights, sampled, statistics ? &*statistics : nullptr, task.schemes.front()},
        solver->options, context.pool);
    context.workspace.save_bytes("trial", solution.bytes);
    s = seconds_since(start);
  }
  return {std::max(0.0, seconds[0] - seconds[1]),
          seconds[1] / static_cast<double>(std::max<int64_t>(1, sampled.rows))};
}

}  // namespace

nlohmann::json WorkTimes::to_json() const {
  return {{"forward", forward}, {"moments", moments}, {"solving", solving}};
}

WorkTimes WorkTimes::from_json(const nlohmann::json& json) {
  return {json.at("forward"), json.at("moments"), json.at("solving")};
}

std::vector<double> forward_work(const std::vector<Block>& blocks,
                                 const std::vector<MatrixTask>& tasks) {
  std::vector<double> work(blocks.size(), 1.0);
  for (const MatrixTask& task : tasks) {
    for (const MatrixUse& use : task.uses) {
      if (use.table) continue;
      work[use.block] += products(task, use);
    }
  }
  return work;
}

WorkTimes sample_times(const Context& context, const std::vector<Block>& blocks,
                       const std::vector<MatrixTask>& tasks, const Recipe& recipe,
                       const CalibrationSet* calibration) {
  WorkTimes times{std::vector<double>(blocks.size(), 0.0), std::vector<double>(blocks.size(), 0.0),
                  std::vector<double>(tasks.size(), 0.0)};
  if (calibration != nullptr) {
    const Rates rates = sample_passes(context, blocks, tasks, *calibration);
    const std::vector<double> work = forward_work(blocks, tasks);
    const auto count = static_cast<double>(calibration->count);
    for (size_t b = 0; b < blocks.size(); ++b) {
      times.forward[b] = rates.forward * work[b] * count;
      times.moments[b] = rates.moments * moment_work(b, tasks) * count;
    }
  }
  std::map<std::pair<bool, int64_t>, SolveRate> rates;  // by kind of use, length of row
  std::set<size_t> factored;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const MatrixTask& task = tasks[t];
    if (task.stays(0) || task.of_residual) continue;
    const std::pair kind{task.linear(), task.shape().cols};
    if (!rates.contains(kind)) {
      rates[kind] = sample_solver(context, task, recipe, calibration != nullptr);
    }
    times.solving[t] = rates[kind].row * static_cast<double>(task.shape().rows);
    if (!task.residual.empty()) {
      // The branch takes about as long as the codes.
      const Chosen<Residual>& residual = recipe.residual;
      times.solving[t] *= 2 * static_cast<double>(residual.part->solver_calls(residual.options));
    }
    if (factored.insert(task.uses.front().operand).second) times.solving[t] += rates[kind].once;
  }
  return times;
}

std::vector<double> coding_seconds(const Graph& graph, const std::vector<Block>& blocks,
                                   const std::vector<MatrixTask>& tasks,
                                   const std::vector<size_t>& picks, const WorkTimes& times,
                                   bool calibrated) {
  std::vector<double> seconds(blocks.size(), 0.0);
  for (size_t t = 0; t < tasks.size(); ++t) {
    if (!tasks[t].stays(picks[t])) seconds[tasks[t].block()] += times.solving[t];
  }
  if (!calibrated) return seconds;
  for (size_t b = 0; b < blocks.size(); ++b) {
    double work = 0;      // of a pass through the block
    double repeated = 0;  // of the passes of its stages
    // What matrices that are coded here multiply, with one past the node that makes it.
    std::map<size_t, size_t> stages;  // by operand
    for (size_t t = 0; t < tasks.size(); ++t) {
      const MatrixUse& use = tasks[t].uses.front();
      if (use.block != b || use.table || tasks[t].stays(picks[t]) || tasks[t].of_residual) continue;
      stages[use.operand] = producer_end(graph, blocks[b], use.input);
    }
    for (const MatrixTask& task : tasks) {
      for (const MatrixUse& use : task.uses) {
        if (use.block != b || use.table) continue;
        const double own = products(task, use);
        work += own;
        for (const auto& [operand, end] : stages) repeated += use.node < end ? own : 0;
      }
    }
    if (!stages.empty()) seconds[b] += times.moments[b];
    if (work > 0) seconds[b] += times.forward[b] * repeated / work;
    if (b + 1 < blocks.size()) seconds[b] += times.forward[b];
  }
  return seconds;
}

double finishing_seconds(const WorkTimes& times, const CalibrationSet* calibration) {
  if (calibration == nullptr) return 0;
  const double pass = std::accumulate(times.forward.begin(), times.forward.end(), 0.0);
  return 2 * pass * static_cast<double>(calibration->probes) /
         static_cast<double>(calibration->count);
}

}  // namespace bitsmith
