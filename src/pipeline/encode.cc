#include "pipeline/encode.h"

#include <algorithm>
#include <numeric>

#include "core/interrupt.h"
#include "core/output_file.h"
#include "formats/checkpoint_metadata.h"
#include "pipeline/survey.h"
#include "solvers/direct.h"

namespace bitsmith {
namespace {

using nlohmann::json;

// How much a tied table's use as a table counts beside its use as a head. 3-bit codes of
// tinystories-656k: KL 0.331, 0.311, 0.311, 0.315 nats for 0.3, 1, 3, 10, and 0.390 for 0.
constexpr double kTableWeight = 2;

// Everything that coding one block needs.
class BlockEncoder {
 public:
  BlockEncoder(const Context& context, const std::vector<Block>& blocks,
               const std::vector<MatrixTask>& tasks, const Recipe& recipe, const Plan& plan,
               const CalibrationSet* calibration)
      : context_(context),
        blocks_(blocks),
        tasks_(tasks),
        recipe_(recipe),
        plan_(plan),
        calibration_(calibration),
        activations_(context.workspace.folder(), context.activation_bytes),
        encoded_(tasks.size()) {}

  std::vector<EncodedMatrix> run() {
    const std::vector<double>& seconds = plan_.block_seconds;
    context_.progress.begin("compress", std::accumulate(seconds.begin(), seconds.end(), 0.0));
    double done = 0;
    for (size_t b = 0; b < blocks_.size(); ++b) {
      context_.progress.update(done, blocks_[b].name);
      run_block_at(b);
      done += seconds[b];
    }
    context_.progress.end();
    return std::move(encoded_);
  }

 private:
  static size_t weight_count(const MatrixTask& task) {
    return static_cast<size_t>(task.shape().rows * task.shape().cols);
  }

  void run_block_at(size_t b) {
    const Block& block = blocks_[b];
    const std::string record = fmt::format("block-{:04}", b);
    std::vector<size_t> here;  // tasks that are coded in this block
    for (size_t t = 0; t < tasks_.size(); ++t) {
      if (tasks_[t].block() == b) here.push_back(t);
    }
    const bool finished = load_record(record, here);
    const bool last = b + 1 == blocks_.size();
    if (calibration_ == nullptr) {
      if (!finished) {
        for (const size_t t : here) {
          if (!tasks_[t].of_residual) solve(t, known_statistics(t).get(), nullptr);
        }
      }
    } else if (!(finished && last)) {
      BlockParameters parameters(context_, block.begin, block.end);
      put_coded_parameters(b, parameters);
      if (!finished) encode_in_stages(b, here, parameters);
      if (!last) advance(b, parameters);
    }
    if (!finished) save_record(record, here);
  }

  // Matrices that were coded already, in an earlier run or (tied) in an earlier block.
  void put_coded_parameters(size_t b, BlockParameters& parameters) {
    for (size_t t = 0; t < tasks_.size(); ++t) {
      if (encoded_[t].file == nullptr) continue;
      const bool used =
          std::ranges::any_of(tasks_[t].uses, [&](const MatrixUse& use) { return use.block == b; });
      if (!used) continue;
      const CodedTensor coded = coded_tensor(t);
      std::vector<float> values(weight_count(tasks_[t]));
      decode_tensor(coded, context_.pool, values.data());
      parameters.set(context_, tasks_[t].id, values);
    }
  }

  CodedTensor coded_tensor(size_t t) const {
    return {encoded_[t].name, tasks_[t].tensor->shape, encoded_[t].scheme,
            encoded_[t].file->bytes()};
  }

  SampleInput input_of(size_t b) const {
    if (b > 0) return [this](int64_t i) { return activations_.load(i); };
    return [this](int64_t i) { return sample_tensor(*calibration_, i); };
  }

  // A stage is the set of matrices that multiply the same activation. Its second moment is measured
  // with everything before it already coded ("true sequential").
  void encode_in_stages(size_t b, const std::vector<size_t>& here, BlockParameters& parameters) {
    const Graph& graph = context_.model.graph;
    const Block& block = blocks_[b];
    std::vector<bool> solved(tasks_.size(), false);
    for (const size_t t : here) {
      const MatrixTask& task = tasks_[t];
      if (solved[t] || task.of_residual) continue;
      if (!task.linear() || task.stays(plan_.picks[t])) {
        const auto statistics = task.linear() ? nullptr : later_statistics(task);
        solve(t, statistics.get(), &parameters);
        solved[t] = true;
        continue;
      }
      const size_t operand = task.uses.front().operand;
      auto moment = std::make_unique<SecondMoment>(task.shape().cols);
      BlockRun run{&graph,
                   block.begin,
                   producer_end(graph, block, task.uses.front().input),
                   block.input,
                   {{operand, moment.get()}},
                   kNoValue};
      run_block(context_, run, parameters, 0, calibration_->count, input_of(b));
      std::vector<double> mean = moment->mean();
      moment.reset();  // as large as the mean
      const InputStatistics statistics(task.shape().cols, std::move(mean));
      for (const size_t other : here) {
        const MatrixUse& use = tasks_[other].uses.front();
        if (solved[other] || tasks_[other].of_residual) continue;
        if (use.table || use.operand != operand) continue;
        solve(other, &statistics, &parameters);
        solved[other] = true;
      }
    }
  }

  // Of an importance matrix; nullptr if there is none, or it says nothing of this matrix.
  std::unique_ptr<InputStatistics> known_statistics(size_t t) const {
    if (context_.input_squares == nullptr) return nullptr;
    const std::vector<float>& squares = (*context_.input_squares)[t];
    if (squares.empty()) return nullptr;
    const size_t cols = squares.size();
    std::vector<double> moment(cols * cols, 0.0);
    for (size_t i = 0; i < cols; ++i) moment[i * cols + i] = static_cast<double>(squares[i]);
    return std::make_unique<InputStatistics>(static_cast<int64_t>(cols), std::move(moment));
  }

  // For a table that also multiplies (a tied head): the second moment of the later use, and,
  // because an error in a row of the table goes straight into the network whatever its direction, a
  // multiple of the identity.
  std::unique_ptr<InputStatistics> later_statistics(const MatrixTask& task) const {
    const auto path = context_.workspace.folder() / (moment_record(task) + ".bin");
    if (task.uses.size() < 2 || !std::filesystem::exists(path)) return nullptr;
    const MappedFile file(path);
    const size_t cols = static_cast<size_t>(task.shape().cols);
    if (file.bytes().size() != cols * cols * sizeof(double)) return nullptr;
    std::vector<double> moment(cols * cols);
    std::memcpy(moment.data(), file.bytes().data(), file.bytes().size());
    double trace = 0;
    for (size_t i = 0; i < cols; ++i) trace += moment[i * cols + i];
    for (size_t i = 0; i < cols; ++i) {
      moment[i * cols + i] += kTableWeight * trace / static_cast<double>(cols);
    }
    return std::make_unique<InputStatistics>(task.shape().cols, std::move(moment));
  }

  void solve(size_t t, const InputStatistics* statistics, BlockParameters* parameters) {
    check_interrupt();
    const MatrixTask& task = tasks_[t];
    EncodedMatrix& result = encoded_[t];
    result.name = task.tensor->name;
    result.scheme = task.schemes[plan_.picks[t]];
    std::vector<float> weights(weight_count(task));
    decode_tensor(*task.tensor, context_.pool, weights.data());
    const Chosen<Solver>* solver = &solver_for(recipe_, task);
    if (solver->part->needs_statistics() && statistics == nullptr) solver = &recipe_.table_solver;

    const std::string record = fmt::format("tensor-{:04}", t);
    if (task.stays(plan_.picks[t])) {
      result.file =
          std::make_shared<MappedFile>(context_.workspace.save_bytes(record, task.tensor->bytes));
      result.squared_weight = squared_sum(weights, weights.size());
      for (const size_t part : task.residual) save_zeros(part);
      return;
    }
    const Problem problem{weights, task.shape(), statistics, result.scheme};
    Solution solution;
    if (task.residual.empty()) {
      solution = solver->part->solve(problem, solver->options, context_.pool);
      if (parameters != nullptr) parameters->set(context_, task.id, solution.values);
    } else {
      solution = solve_with_residual(task, problem, *solver, parameters);
    }
    result.file =
        std::make_shared<MappedFile>(context_.workspace.save_bytes(record, solution.bytes));
    if (statistics != nullptr) {
      result.output_error =
          std::accumulate(solution.row_error.begin(), solution.row_error.end(), 0.0);
    }
    result.squared_weight = squared_sum(weights, weights.size());
    for (size_t i = 0; i < weights.size(); ++i) weights[i] -= solution.values[i];
    result.squared_error = squared_sum(weights, weights.size());
  }

  // Codes the parameters of the branch too. The values of the result are those of codes and branch
  // together.
  Solution solve_with_residual(const MatrixTask& task, const Problem& problem,
                               const Chosen<Solver>& solver, BlockParameters* parameters) {
    const Residual& residual = *recipe_.residual.part;
    ResidualSolution found = residual.solve(problem, *solver.part, solver.options,
                                            recipe_.residual.options, context_.pool);
    for (size_t i = 0; i < task.residual.size(); ++i) {
      const size_t t = task.residual[i];
      save_part(t, found.bytes[i], found.values[i]);
      if (parameters != nullptr) parameters->set(context_, tasks_[t].id, found.values[i]);
    }
    if (parameters != nullptr) parameters->set(context_, task.id, found.codes.values);
    residual.add_to_all(problem.shape, found.values, found.codes.values.data(), context_.pool);
    return std::move(found.codes);
  }

  // A parameter of a branch.
  void save_part(size_t t, std::span<const std::byte> bytes, const std::vector<float>& values) {
    EncodedMatrix& part = encoded_[t];
    part.name = tasks_[t].tensor->name;
    part.scheme = tasks_[t].schemes.front();
    part.file = std::make_shared<MappedFile>(
        context_.workspace.save_bytes(fmt::format("tensor-{:04}", t), bytes));
    part.squared_error = squared_sum(values, values.size());
  }

  // The same beside a layer that stays as it is, which loses nothing.
  void save_zeros(size_t t) {
    const std::vector<float> zeros(weight_count(tasks_[t]));
    const Problem problem{zeros, tasks_[t].shape(), nullptr, tasks_[t].schemes.front()};
    save_part(t, solve_directly(problem, 0, {}, context_.pool).bytes, zeros);
  }

  // Chunked over the pool with a fixed chunk, summed in order: the same for any number of threads.
  double squared_sum(const std::vector<float>& values, size_t count) const {
    constexpr size_t kChunk = size_t{1} << 16;
    std::vector<double> sums((count + kChunk - 1) / kChunk, 0.0);
    context_.pool.run(static_cast<int64_t>(sums.size()), [&](int64_t chunk, int) {
      const size_t begin = static_cast<size_t>(chunk) * kChunk;
      double sum = 0;
      for (size_t i = begin; i < std::min(count, begin + kChunk); ++i) {
        sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
      }
      sums[static_cast<size_t>(chunk)] = sum;
    });
    return std::accumulate(sums.begin(), sums.end(), 0.0);
  }

  void advance(size_t b, const BlockParameters& parameters) {
    const Graph& graph = context_.model.graph;
    const Block& block = blocks_[b];
    NextActivations next(activations_, calibration_->count,
                         sample_shape(graph, block.output, *calibration_));
    const BlockRun run{&graph, block.begin, block.end, block.input, {}, block.output};
    run_block(context_, run, parameters, 0, calibration_->count, input_of(b),
              [&](int64_t i, const at::Tensor& value) { next.save(i, value); });
    next.finish();
  }

  void save_record(const std::string& record, const std::vector<size_t>& here) {
    json list = json::array();
    for (const size_t t : here) {
      const EncodedMatrix& e = encoded_[t];
      list.push_back({{"task", t},
                      {"name", e.name},
                      {"scheme", e.scheme.to_json()},
                      {"checksum", checkpoint::checksum(e.file->bytes())},
                      {"squared_error", e.squared_error},
                      {"squared_weight", e.squared_weight},
                      {"output_error", e.output_error}});
      release_pages(e.file->bytes());
    }
    context_.workspace.save(record, list);
  }

  // True if the block was finished by an earlier run and all its bytes are as they were written.
  bool load_record(const std::string& record, const std::vector<size_t>& here) {
    const auto list = context_.workspace.load(record);
    if (!list || list->size() != here.size()) return false;
    std::vector<EncodedMatrix> loaded;
    for (size_t i = 0; i < here.size(); ++i) {
      const json& entry = (*list)[i];
      EncodedMatrix e;
      e.name = entry.at("name");
      e.scheme = Scheme::from_json(entry.at("scheme"));
      const auto path = context_.workspace.folder() / fmt::format("tensor-{:04}.bin", here[i]);
      if (entry.at("task") != here[i] || !std::filesystem::exists(path)) return false;
      e.file = std::make_shared<MappedFile>(path);
      if (checkpoint::checksum(e.file->bytes()) != entry.at("checksum")) return false;
      release_pages(e.file->bytes());
      e.squared_error = entry.at("squared_error");
      e.squared_weight = entry.at("squared_weight");
      e.output_error = entry.at("output_error");
      loaded.push_back(std::move(e));
    }
    for (size_t i = 0; i < here.size(); ++i) encoded_[here[i]] = std::move(loaded[i]);
    return true;
  }

  const Context& context_;
  const std::vector<Block>& blocks_;
  const std::vector<MatrixTask>& tasks_;
  const Recipe& recipe_;
  const Plan& plan_;
  const CalibrationSet* calibration_;
  ActivationStore activations_;
  std::vector<EncodedMatrix> encoded_;
};

// Tied heads are coded when their first use, as a table, is reached; the statistics of their later
// use as a matrix come from a pass over the original network, unless the survey has left them.
void measure_late_moments(const Context& context, const std::vector<Block>& blocks,
                          const std::vector<MatrixTask>& tasks, const CalibrationSet& calibration) {
  std::map<size_t, std::vector<const MatrixTask*>> wanted;  // by block
  for (const MatrixTask& task : tasks) {
    if (task.linear() || task.uses.size() < 2) continue;
    if (std::filesystem::exists(context.workspace.folder() / (moment_record(task) + ".bin")))
      continue;
    wanted[task.uses.back().block].push_back(&task);
  }
  if (wanted.empty()) return;
  const Graph& graph = context.model.graph;
  const size_t last = wanted.rbegin()->first;
  ActivationStore activations(context.workspace.folder(), context.activation_bytes);
  context.progress.begin("tied heads", static_cast<double>(last + 1));
  for (size_t b = 0; b <= last; ++b) {
    context.progress.update(static_cast<double>(b), blocks[b].name);
    const BlockParameters parameters(context, blocks[b].begin, blocks[b].end);
    BlockRun run{&graph, blocks[b].begin, blocks[b].end, blocks[b].input, {}, kNoValue};
    std::map<const MatrixTask*, SecondMoment> moments;
    for (const MatrixTask* task : wanted[b]) {
      const auto it = moments.emplace(task, task->shape().cols).first;
      run.captures.emplace_back(task->uses.back().operand, &it->second);
    }
    std::optional<NextActivations> next;
    if (b < last) {
      run.output = blocks[b].output;
      next.emplace(activations, calibration.count,
                   sample_shape(graph, blocks[b].output, calibration));
    }
    const SampleInput input = [&](int64_t i) {
      return b > 0 ? activations.load(i) : sample_tensor(calibration, i);
    };
    std::function<void(int64_t, const at::Tensor&)> store;
    if (b < last) {
      store = [&](int64_t i, const at::Tensor& value) { next->save(i, value); };
    }
    run_block(context, run, parameters, 0, calibration.count, input, store);
    if (next) next->finish();
    for (const auto& [task, moment] : moments) {
      const std::vector<double> mean = moment.mean();
      context.workspace.save_bytes(moment_record(*task), std::as_bytes(std::span(mean)));
    }
  }
  context.progress.end();
}

}  // namespace

std::vector<EncodedMatrix> encode(const Context& context, const std::vector<Block>& blocks,
                                  const std::vector<MatrixTask>& tasks, const Recipe& recipe,
                                  const Plan& plan, const CalibrationSet* calibration) {
  if (calibration != nullptr && recipe.matrix_solver.part->needs_statistics()) {
    measure_late_moments(context, blocks, tasks, *calibration);
  }
  return BlockEncoder(context, blocks, tasks, recipe, plan, calibration).run();
}

}  // namespace bitsmith
