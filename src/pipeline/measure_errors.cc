// Step 1 of the survey: what each candidate does to the outputs of each matrix.
#include <algorithm>
#include <cmath>

#include "core/interrupt.h"
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

std::vector<UseErrors> from_json(const json& list) {
  std::vector<UseErrors> errors;
  for (const json& e : list) {
    errors.push_back({e.at("task"), e.at("node"), e.at("channels"), e.at("errors")});
  }
  return errors;
}

}  // namespace

std::string moment_record(const MatrixTask& task) { return fmt::format("moment-{}", task.id); }

SequenceInput SurveyState::probe_input(size_t block) const {
  if (block == 0) {
    return [this](int64_t i) { return token_tensor(calibration, calibration.count + i); };
  }
  const ActivationStore* store = probe_inputs[block].get();
  return [store](int64_t i) { return store->sequence(i); };
}

void measure_errors(const Context& context, SurveyState& state, double bits) {
  const Graph& graph = context.model.graph;
  const CalibrationSet& calibration = state.calibration;
  ActivationStore activations(context.workspace.folder(), context.activation_memory());
  state.probe_inputs.clear();
  state.probe_inputs.resize(state.blocks.size());
  context.progress.begin("survey", static_cast<double>(state.blocks.size()));

  for (size_t b = 0; b < state.blocks.size(); ++b) {
    const Block& block = state.blocks[b];
    context.progress.update(static_cast<double>(b), block.name);
    const std::string record = fmt::format("survey-{:04}", b);
    const auto finished = context.workspace.load(record);
    const BlockParameters parameters(context, block.begin, block.end);

    // Second moments of the inputs of this block's linear layers, shared by those that read the
    // same.
    std::map<ValueId, std::unique_ptr<SecondMoment>> moments;
    if (!finished) {
      for (const MatrixTask& task : state.tasks) {
        for (const MatrixUse& use : task.uses) {
          if (use.block != b || use.table || moments.contains(use.input)) continue;
          moments[use.input] = std::make_unique<SecondMoment>(task.shape().cols);
        }
      }
    }
    BlockRun run{&graph, block.begin, block.end, block.input, {}, kNoValue};
    for (const auto& [id, moment] : moments) run.captures.emplace_back(id, moment.get());

    const bool last = b + 1 == state.blocks.size();
    const SequenceInput input = [&](int64_t i) {
      if (b > 0) return activations.sequence(i);
      return state.probe_input(0)(i - calibration.count);
    };
    if (last) {
      run_block(context, run, parameters, 0, calibration.count, input);
    } else {
      const int64_t total = calibration.count + calibration.probes;
      const int64_t channels = graph.value(block.output).shape.back();
      // The first block makes the activations, the others replace them.
      if (b > 0) BITSMITH_ASSERT(channels == activations.channels());
      if (b == 0) activations.resize(total, calibration.length, channels);
      auto probes = std::make_unique<ActivationStore>(
          context.workspace.folder(), context.activation_memory() / state.blocks.size());
      probes->resize(calibration.probes, calibration.length, channels);
      run.output = block.output;
      const auto store = [&](int64_t i, const at::Tensor& value) {
        activations.sequence(i).copy_(value);
        activations.release(i);
        if (i >= calibration.count) probes->sequence(i - calibration.count).copy_(value);
      };
      run_block(context, run, parameters, 0, calibration.count, input, store);
      run.captures.clear();  // probes stay out of the statistics
      run_block(context, run, parameters, calibration.count, calibration.probes, input, store);
      for (int64_t i = 0; i < calibration.probes; ++i) probes->release(i);
      state.probe_inputs[b + 1] = std::move(probes);
    }

    if (finished) {
      const auto loaded = from_json(*finished);
      state.errors.insert(state.errors.end(), loaded.begin(), loaded.end());
      continue;
    }
    std::map<ValueId, std::unique_ptr<InputStatistics>> statistics;
    std::vector<UseErrors> errors;
    for (size_t t = 0; t < state.tasks.size(); ++t) {
      const MatrixTask& task = state.tasks[t];
      for (const MatrixUse& use : task.uses) {
        if (use.block != b) continue;
        const at::Tensor& weights = parameters.get(task.id);
        if (use.table) {
          errors.push_back(table_errors(context, state, t, use.node, weights));
          save_anchor(context, task, b, state.recipe.table_solver, weights, nullptr, bits);
          continue;
        }
        auto& shared = statistics[use.input];
        if (!shared) {
          std::vector<double> mean = moments.at(use.input)->mean();
          moments.at(use.input).reset();
          if (task.block() != b) {
            context.workspace.save_bytes(moment_record(task), std::as_bytes(std::span(mean)));
          }
          shared = std::make_unique<InputStatistics>(task.shape().cols, std::move(mean));
        }
        errors.push_back(linear_errors(context, state, t, use.node, weights, *shared));
        save_anchor(context, task, b, state.recipe.matrix_solver, weights, shared.get(), bits);
      }
    }
    context.workspace.save(record, to_json(errors));
    state.errors.insert(state.errors.end(), errors.begin(), errors.end());
  }
  context.progress.end();
}

}  // namespace bitsmith
