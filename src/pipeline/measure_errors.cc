// Step 1 of the survey: what each candidate does to the outputs of each matrix.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/interrupt.h"
#include "core/seconds.h"
#include "pipeline/survey.h"

namespace bitsmith {
namespace {

using nlohmann::json;
// Enough rows that the mean of their errors is known to a few percent, few enough that trying
// dozens of candidates costs less than one forward pass.
std::vector<int64_t> sample_rows(const MatrixShape& shape) {
  const int64_t wanted =
      std::max<int64_t>(64, (int64_t{1} << 18) / std::max<int64_t>(1, shape.cols));
  const int64_t count = std::min(shape.rows, wanted);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < count; ++i) rows.push_back(i * shape.rows / count);
  return rows;
}

UseErrors linear_errors(const Context& context, const SurveyState& state, size_t task_index,
                        size_t node, const at::Tensor& weights, const InputStatistics& statistics) {
  const MatrixTask& task = state.tasks[task_index];
  UseErrors result{task_index, node, sample_rows(task.shape()), {}};
  const MatrixShape sampled{static_cast<int64_t>(result.channels.size()), task.shape().cols};
  std::vector<float> rows;
  const at::Tensor host = weights.cpu().contiguous();
  for (const int64_t row : result.channels) {
    const float* begin = host.data_ptr<float>() + row * sampled.cols;
    rows.insert(rows.end(), begin, begin + sampled.cols);
  }
  const Chosen<Solver>& solver = state.recipe.matrix_solver;
  for (size_t s = 0; s + 1 < task.schemes.size(); ++s) {
    check_interrupt();
    const Problem problem{rows, sampled, &statistics, task.schemes[s]};
    result.errors.push_back(solver.part->solve(problem, solver.options, context.pool).row_error);
  }
  return result;
}

// For a table the output channels are the columns: e_c = sum over tokens v of p_v (w_vc - q_vc)²,
// with p_v the frequency of the token in the calibration text, smoothed by half a count.
UseErrors table_errors(const Context& context, const SurveyState& state, size_t task_index,
                       size_t node, const at::Tensor& weights) {
  const MatrixTask& task = state.tasks[task_index];
  const MatrixShape shape = task.shape();
  std::vector<double> frequency(static_cast<size_t>(shape.rows), 0.5);
  double total = 0.5 * static_cast<double>(shape.rows);
  for (int64_t i = 0; i < state.calibration.count; ++i) {
    for (const TokenId token : state.calibration.sequences[static_cast<size_t>(i)]) {
      frequency.at(static_cast<size_t>(token)) += 1;
      total += 1;
    }
  }
  UseErrors result{task_index, node, {}, {}};
  for (int64_t c = 0; c < shape.cols; ++c) result.channels.push_back(c);
  const at::Tensor host = weights.cpu().contiguous();
  const std::span<const float> w(host.data_ptr<float>(), static_cast<size_t>(host.numel()));
  const Chosen<Solver>& solver = state.recipe.table_solver;
  for (size_t s = 0; s + 1 < task.schemes.size(); ++s) {
    check_interrupt();
    const Problem problem{w, shape, nullptr, task.schemes[s]};
    const Solution solution = solver.part->solve(problem, solver.options, context.pool);
    std::vector<double> error(static_cast<size_t>(shape.cols), 0.0);
    for (int64_t v = 0; v < shape.rows; ++v) {
      const double p = frequency[static_cast<size_t>(v)] / total;
      for (int64_t c = 0; c < shape.cols; ++c) {
        const size_t i = static_cast<size_t>(v * shape.cols + c);
        const double d = static_cast<double>(w[i]) - static_cast<double>(solution.values[i]);
        error[static_cast<size_t>(c)] += p * d * d;
      }
    }
    result.errors.push_back(std::move(error));
  }
  return result;
}

// Leaves the whole matrix, coded for step 3, in the workspace.
void save_anchor(const Context& context, const MatrixTask& task, size_t block,
                 const Chosen<Solver>& solver, const at::Tensor& weights,
                 const InputStatistics* statistics, double bits) {
  const at::Tensor host = weights.cpu().contiguous();
  const Problem problem{{host.data_ptr<float>(), static_cast<size_t>(host.numel())},
                        task.shape(),
                        statistics,
                        anchor_scheme(task, bits)};
  context.workspace.save_bytes(anchor_record(task, block),
                               solver.part->solve(problem, solver.options, context.pool).bytes);
}

json to_json(const std::vector<UseErrors>& errors) {
  json list = json::array();
  for (const UseErrors& e : errors) {
    list.push_back(
        {{"task", e.task}, {"node", e.node}, {"channels", e.channels}, {"errors", e.errors}});
  }
  return list;
}

class ErrorMeasurement {
 public:
  ErrorMeasurement(const Context& context, SurveyState& state, double bits)
      : context_(context),
        state_(state),
        graph_(context.model.graph),
        bits_(bits),
        activations_(context.workspace.folder(), context.activation_bytes) {}

  void run() {
    const size_t blocks = state_.blocks.size();
    state_.probe_inputs.clear();
    state_.probe_inputs.resize(blocks);
    state_.times = {std::vector<double>(blocks, 0.0), std::vector<double>(blocks, 0.0),
                    std::vector<double>(state_.tasks.size(), 0.0)};
    const std::vector<double> work = block_work();
    context_.progress.begin("survey", std::accumulate(work.begin(), work.end(), 0.0));
    double done = 0;
    for (size_t b = 0; b < blocks; ++b) {
      context_.progress.update(done, state_.blocks[b].name);
      run_block_at(b);
      done += work[b];
    }
    context_.progress.end();
    set_last_forward();
  }

 private:
  // Second moments of what a block's matrices multiply, shared by those that multiply the same.
  using Moments = std::map<size_t, std::unique_ptr<SecondMoment>>;  // by operand

  // Trying all candidates on a table takes about as long as a forward pass of as many weights.
  std::vector<double> block_work() const {
    std::vector<double> work = forward_work(state_.blocks, state_.tasks);
    for (const MatrixTask& task : state_.tasks) {
      if (!task.linear()) {
        work[task.block()] += static_cast<double>(task.shape().rows * task.shape().cols);
      }
    }
    return work;
  }

  void run_block_at(size_t b) {
    const Block& block = state_.blocks[b];
    const std::string record = fmt::format("survey-{:04}", b);
    const auto finished = context_.workspace.load(record);
    const BlockParameters parameters(context_, block.begin, block.end);
    Moments moments;
    if (!finished) moments = empty_moments(b);
    run_samples(b, parameters, moments);
    if (finished) {
      take(*finished, b);
      return;
    }
    const size_t before = state_.errors.size();
    json solving = json::array();
    try_candidates(b, parameters, moments, solving);
    const std::vector<UseErrors> errors(state_.errors.begin() + static_cast<int64_t>(before),
                                        state_.errors.end());
    context_.workspace.save(record, {{"errors", to_json(errors)},
                                     {"forward", state_.times.forward[b]},
                                     {"moments", state_.times.moments[b]},
                                     {"solving", std::move(solving)}});
  }

  // What an earlier run has left of a block.
  void take(const json& record, size_t b) {
    for (const json& e : record.at("errors")) {
      state_.errors.push_back({e.at("task"), e.at("node"), e.at("channels"), e.at("errors")});
    }
    state_.times.forward[b] = record.at("forward");
    state_.times.moments[b] = record.at("moments");
    for (const json& s : record.at("solving")) {
      state_.times.solving.at(s.at(0).get<size_t>()) = s.at(1);
    }
  }

  Moments empty_moments(size_t b) const {
    Moments moments;
    for (const MatrixTask& task : state_.tasks) {
      for (const MatrixUse& use : task.uses) {
        if (use.block != b || use.table || moments.contains(use.operand)) continue;
        moments[use.operand] = std::make_unique<SecondMoment>(task.shape().cols);
      }
    }
    return moments;
  }

  // All samples through block b: fills the moments, and makes the next block's input.
  void run_samples(size_t b, const BlockParameters& parameters, const Moments& moments) {
    const Block& block = state_.blocks[b];
    const CalibrationSet& calibration = state_.calibration;
    BlockRun run{&graph_, block.begin, block.end, block.input, {}, kNoValue};
    for (const auto& [node, moment] : moments) run.captures.emplace_back(node, moment.get());
    const SampleInput input = [&](int64_t i) {
      if (b > 0) return activations_.load(i);
      return state_.probe_input(0)(i - calibration.count);
    };
    const auto start = Clock::now();
    if (b + 1 == state_.blocks.size()) {
      if (moments.empty()) return;
      // Nobody reads the logits.
      run.end = block.begin;
      for (const auto& [node, moment] : moments) {
        run.end = std::max(run.end, producer_end(graph_, block, graph_.nodes[node].inputs[0]));
      }
      run_block(context_, run, parameters, 0, calibration.count, input);
      state_.times.moments[b] = seconds_since(start);
      return;
    }
    const Shape shape = sample_shape(graph_, block.output, calibration);
    NextActivations next(activations_, calibration.count + calibration.probes, shape);
    auto probes = std::make_unique<ActivationStore>(
        context_.workspace.folder(), context_.activation_bytes / state_.blocks.size());
    probes->resize(calibration.probes, shape);
    run.output = block.output;
    const auto store = [&](int64_t i, const at::Tensor& value) {
      next.save(i, value);
      if (i >= calibration.count) probes->save(i - calibration.count, value);
    };
    run_block(context_, run, parameters, 0, calibration.count, input, store);
    const double both = seconds_since(start);
    run.captures.clear();  // probes stay out of the statistics
    const auto probe_start = Clock::now();
    run_block(context_, run, parameters, calibration.count, calibration.probes, input, store);
    const double forward = seconds_since(probe_start) * static_cast<double>(calibration.count) /
                           static_cast<double>(calibration.probes);
    state_.times.forward[b] = std::min(forward, both);
    state_.times.moments[b] = both - state_.times.forward[b];
    state_.probe_inputs[b + 1] = std::move(probes);
    next.finish();
  }

  // The last block's logits were not computed: its pass is taken to be as fast as the others.
  void set_last_forward() {
    const std::vector<double> work = forward_work(state_.blocks, state_.tasks);
    const double others = std::accumulate(work.begin(), work.end() - 1, 0.0);
    std::vector<double>& forward = state_.times.forward;
    const double seconds = std::accumulate(forward.begin(), forward.end() - 1, 0.0);
    forward.back() = others > 0 ? seconds * work.back() / others : 0;
  }

  // Adds the errors of every use in block b; `solving`: [task, seconds] of whole matrices.
  void try_candidates(size_t b, const BlockParameters& parameters, Moments& moments,
                      json& solving) {
    std::map<size_t, std::unique_ptr<InputStatistics>> statistics;  // by operand
    for (size_t t = 0; t < state_.tasks.size(); ++t) {
      const MatrixTask& task = state_.tasks[t];
      for (const MatrixUse& use : task.uses) {
        if (use.block != b) continue;
        const at::Tensor& weights = parameters.get(task.id);
        const InputStatistics* shared = nullptr;
        if (!use.table) {
          auto& known = statistics[use.operand];
          if (!known) known = finish_moment(b, task, moments.at(use.operand));
          shared = known.get();
        }
        // First, so that its time includes the factorisation as it does when the matrix is coded.
        const auto start = Clock::now();
        save_anchor(context_, task, b,
                    use.table ? state_.recipe.table_solver : state_.recipe.matrix_solver, weights,
                    shared, bits_);
        state_.times.solving[t] = seconds_since(start);
        solving.push_back({t, state_.times.solving[t]});
        state_.errors.push_back(
            use.table ? table_errors(context_, state_, t, use.node, weights)
                      : linear_errors(context_, state_, t, use.node, weights, *shared));
      }
    }
  }

  std::unique_ptr<InputStatistics> finish_moment(size_t b, const MatrixTask& task,
                                                 std::unique_ptr<SecondMoment>& moment) {
    const auto start = Clock::now();
    std::vector<double> mean = moment->mean();
    moment.reset();
    if (task.block() != b) {
      context_.workspace.save_bytes(moment_record(task), std::as_bytes(std::span(mean)));
    }
    auto result = std::make_unique<InputStatistics>(task.shape().cols, std::move(mean));
    state_.times.moments[b] += seconds_since(start);
    return result;
  }

  const Context& context_;
  SurveyState& state_;
  const Graph& graph_;
  double bits_;
  ActivationStore activations_;
};

}  // namespace

std::string moment_record(const MatrixTask& task) { return fmt::format("moment-{}", task.id); }

SampleInput SurveyState::probe_input(size_t block) const {
  if (block == 0) {
    return [this](int64_t i) { return sample_tensor(calibration, calibration.count + i); };
  }
  const ActivationStore* store = probe_inputs[block].get();
  return [store](int64_t i) { return store->load(i); };
}

void measure_errors(const Context& context, SurveyState& state, double bits) {
  ErrorMeasurement(context, state, bits).run();
}

}  // namespace bitsmith
