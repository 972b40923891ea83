// Solver `gptq`: column by column, the error of each column fed forward into the ones not yet
// coded.
#include <algorithm>

#include "calibration/blas.h"
#include "core/error.h"
#include "solvers/coordinate_descent.h"
#include "solvers/direct.h"

namespace bitsmith {
namespace {

struct Settings {
  double damping;
  bool activation_order;
  bool search;  // ranges are searched, not taken from the extreme weights
  int steps;
  int64_t batch;
  int sweeps;
};

// Everything that is the same for all chunks of rows.
struct Setup {
  const Problem& problem;
  const Settings& settings;
  const InputStatistics::Factor& factor;
  const std::vector<float>& importance;  // [cols] or empty
  const std::vector<float>& moment;      // [cols, cols] if there are sweeps, else empty
  Encoder& encoder;
  int64_t group_cols;
  int64_t block_cols;
};

// Codes one chunk of rows.
//
// With H = U diag(d) Uᵀ, U unit upper triangular, the error of a row e = w - q is
//     e H eᵀ = Σ_k d_k (e_k + Σ_{i<k} e_i U_ik)² = Σ_k d_k (target_k - q_k)²,
//     target_k = w_k + Σ_{i<k} (w_i - q_i) U_ik
// so taking the nearest code to each target in turn is greedy in exactly this sum. These are the
// codes of GPTQ (Frantar et al. 2023, arXiv:2210.17323); Chee et al. 2023 (QuIP,
// arXiv:2307.13304) prove the equivalence. The inverse of H is never formed.
//
// Inside a batch of columns the feedback is applied at once, to the columns after the batch by one
// matrix product (GPTQ's lazy batches). A batch ends where a group ends, so that a group is fitted
// after all feedback from the columns before it. Inside a block of a codec that codes several
// columns jointly there is no feedback.
class Chunk {
 public:
  Chunk(const Setup& setup, int64_t row_begin)
      : setup_(setup),
        cols_(setup.problem.shape.cols),
        row_(row_begin),
        rows_(std::min(kChunkRows, setup.problem.shape.rows - row_begin)),
        weights_(panel_size()),
        targets_(panel_size()),
        values_(panel_size()),
        errors_(static_cast<size_t>(setup.settings.batch * kChunkRows)) {}

  // Writes the rows of `values` [rows, cols].
  void solve(std::vector<float>& values) {
    const int64_t offset = row_ * cols_;
    load_panel(setup_.problem.weights.data() + offset, cols_, rows_, 0, cols_, weights_.data());
    for (int64_t k = 0; k < cols_; ++k) {
      std::copy_n(weights_.data() + column(k) * kChunkRows, kChunkRows, target(k));
    }
    if (setup_.settings.activation_order) {
      for (int64_t begin = 0; begin < cols_; begin += setup_.group_cols) {
        fit_group(begin, weights_.data() + begin * kChunkRows);
      }
    }
    for (int64_t begin = 0; begin < cols_;) {
      const int64_t end = batch_end(begin);
      for (int64_t k = begin; k < end; k += setup_.block_cols) code_block(k, begin, end);
      feed_forward(begin, end);
      begin = end;
    }
    if (setup_.settings.sweeps > 0) {
      descend(setup_.moment, setup_.settings.sweeps, row_, rows_, weights_, values_,
              setup_.encoder);
    }
    store_panel(values_.data(), cols_, rows_, 0, cols_, values.data() + offset);
  }

 private:
  // Columns [cols][kChunkRows]; filled with zeros to whole blocks.
  size_t panel_size() const {
    const int64_t cols = setup_.problem.shape.cols;
    return static_cast<size_t>(ceil_div(cols, setup_.block_cols) * setup_.block_cols * kChunkRows);
  }

  // The column of the matrix that is coded k-th.
  int64_t column(int64_t k) const { return setup_.factor.order[static_cast<size_t>(k)]; }
  float* target(int64_t k) { return targets_.data() + k * kChunkRows; }

  void fit_group(int64_t begin, const float* w) {
    FitOptions fit{.search_steps = setup_.settings.search ? setup_.settings.steps : 0};
    if (!setup_.importance.empty()) fit.importance = setup_.importance.data() + begin;
    setup_.encoder.fit_group(begin / setup_.group_cols, row_, rows_, w, kChunkRows, fit);
  }

  // What the targets of the group that starts at `begin` will be if its columns are coded without
  // error, t_j = target_j + Σ_i (w_i - t_i) U_ij over the columns i of the group before j: the
  // weights that GPTQ holds at this point. With v = w - t that is the triangular system v U = w -
  // target.
  const float* expected_targets(int64_t begin) {
    const int64_t count = std::min(setup_.group_cols, cols_ - begin);
    const float* w = weights_.data() + begin * kChunkRows;
    const float* now = target(begin);
    if (begin == 0) return now;
    expected_.resize(static_cast<size_t>(count * kChunkRows));
    for (size_t i = 0; i < expected_.size(); ++i) expected_[i] = w[i] - now[i];
    cblas_strsm(CblasRowMajor, CblasLeft, CblasUpper, CblasTrans, CblasUnit,
                static_cast<int>(count), static_cast<int>(kChunkRows), 1.0F,
                setup_.factor.unit.data() + begin * cols_ + begin, static_cast<int>(cols_),
                expected_.data(), static_cast<int>(kChunkRows));
    for (size_t i = 0; i < expected_.size(); ++i) expected_[i] = w[i] - expected_[i];
    return expected_.data();
  }

  int64_t batch_end(int64_t begin) const {
    const int64_t end = std::min(begin + setup_.settings.batch, cols_);
    if (end == cols_) return end;
    const int64_t group_end = end / setup_.group_cols * setup_.group_cols;
    return group_end > begin ? group_end : end;
  }

  // Codes the block that starts at the k-th column, and feeds its error to the rest of the batch.
  void code_block(int64_t k, int64_t batch_begin, int64_t batch_end) {
    const int64_t col = column(k);
    if (!setup_.settings.activation_order && col % setup_.group_cols == 0) {
      fit_group(col, expected_targets(col));
    }
    float* q = values_.data() + col * kChunkRows;
    setup_.encoder.quantize(col, row_, rows_, target(k), q, kChunkRows);
    const int64_t block_end = std::min(k + setup_.block_cols, batch_end);
    for (int64_t i = k; i < block_end; ++i) {
      const int64_t at = (col + i - k) * kChunkRows;
      float* error = errors_.data() + (i - batch_begin) * kChunkRows;
      for (int64_t r = 0; r < kChunkRows; ++r) {
        error[r] = weights_[static_cast<size_t>(at + r)] - values_[static_cast<size_t>(at + r)];
      }
      const float* unit = setup_.factor.unit.data() + i * cols_;
      for (int64_t j = block_end; j < batch_end; ++j) {
        float* to = target(j);
        for (int64_t r = 0; r < kChunkRows; ++r) to[r] += unit[j] * error[r];
      }
    }
  }

  // targets[end:] += U[begin:end, end:]ᵀ errors
  void feed_forward(int64_t begin, int64_t end) {
    if (end == cols_) return;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(cols_ - end),
                static_cast<int>(kChunkRows), static_cast<int>(end - begin), 1.0F,
                setup_.factor.unit.data() + begin * cols_ + end, static_cast<int>(cols_),
                errors_.data(), static_cast<int>(kChunkRows), 1.0F, target(end),
                static_cast<int>(kChunkRows));
  }

  const Setup& setup_;
  int64_t cols_;
  int64_t row_;                  // first
  int64_t rows_;                 // count
  std::vector<float> weights_;   // in the order of the matrix
  std::vector<float> targets_;   // in the order of coding
  std::vector<float> values_;    // in the order of the matrix
  std::vector<float> errors_;    // of the batch, in the order of coding
  std::vector<float> expected_;  // of the group to be fitted
};

class Gptq final : public Solver {
 public:
  const PartInfo& info() const override { return info_; }
  bool needs_statistics() const override { return true; }

  Solution solve(const Problem& problem, const Options& options, ThreadPool& pool) const override {
    check_problem(problem, info_.id);
    if (problem.statistics == nullptr) {
      fail(ErrorCode::kInvalidArgument, "solver 'gptq' needs calibration statistics of the layer");
    }
    const std::string& range = options.text("range");
    const Settings settings{.damping = options.number("damping"),
                            .activation_order = options.flag("activation_order"),
                            .search = range != "minmax",
                            .steps = static_cast<int>(options.integer("steps")),
                            .batch = options.integer("batch"),
                            .sweeps = static_cast<int>(options.integer("refine"))};
    const Codec& codec = *problem.scheme.codec;
    Solution solution;
    solution.bytes.resize(codec.encoded_bytes(problem.shape, problem.scheme.options));
    solution.values.resize(problem.weights.size());
    {
      const std::vector<float> importance = range == "weighted" ? problem.statistics->importance()
                                            : range == "feedback"
                                                ? remaining_importance(problem, settings, pool)
                                                : std::vector<float>{};
      const auto encoder =
          prepared_encoder(problem, settings.search ? settings.steps : 0, importance, pool);
      if (!problem.weights.empty()) {
        choose_codes(problem, settings, importance, *encoder, solution.values, pool);
      }
      encoder->finish(solution.bytes);
    }
    solution.row_error = row_errors(problem, solution.values, pool);
    return solution;
  }

 private:
  // Of each column what an error costs after the best correction by the columns that follow: the
  // pivots of H, 1 / [H^-1]_jj over what is left at that column (SparseGPT, equation 3).
  static std::vector<float> remaining_importance(const Problem& problem, const Settings& settings,
                                                 ThreadPool& pool) {
    const auto encoder = problem.scheme.codec->encoder(problem.shape, problem.scheme.options);
    const InputStatistics::Factor& factor = problem.statistics->factor(
        settings.damping, settings.activation_order, encoder->block_cols(), pool);
    std::vector<float> importance(factor.pivots.size());
    for (size_t j = 0; j < importance.size(); ++j) {
      importance[static_cast<size_t>(factor.order[j])] = factor.pivots[j];
    }
    return importance;
  }

  static void choose_codes(const Problem& problem, Settings settings,
                           const std::vector<float>& importance, Encoder& encoder,
                           std::vector<float>& values, ThreadPool& pool) {
    const int64_t block_cols = encoder.block_cols();
    if (settings.sweeps > 0 && block_cols > 1) {
      fail(ErrorCode::kInvalidArgument,
           "solver 'gptq': 'refine' needs a codec that codes single columns, '{}' codes {} jointly",
           problem.scheme.label(), block_cols);
    }
    settings.batch = ceil_div(settings.batch, block_cols) * block_cols;
    const InputStatistics& statistics = *problem.statistics;
    const auto moment =
        settings.sweeps > 0 ? single_precision_moment(statistics, pool) : std::vector<float>{};
    const Setup setup{
        .problem = problem,
        .settings = settings,
        .factor = statistics.factor(settings.damping, settings.activation_order, block_cols, pool),
        .importance = importance,
        .moment = moment,
        .encoder = encoder,
        .group_cols = encoder.group_cols(),
        .block_cols = block_cols};
    run_blas_tasks(pool, ceil_div(problem.shape.rows, kChunkRows),
                   [&](int64_t chunk, int) { Chunk(setup, chunk * kChunkRows).solve(values); });
  }

  PartInfo info_{
      .id = "gptq",
      .summary = "column by column, feeding each column's error into the columns that follow",
      .source =
          "Frantar et al. 2023 (GPTQ), arXiv:2210.17323; as LDLQ of Chee et al. 2023 (QuIP), "
          "arXiv:2307.13304",
      .options = {
          {"damping", 0.01, "added to the diagonal of H, in parts of its mean", 0, 100},
          {"activation_order", false, "code columns of large input first; groups fitted up front"},
          {"range",
           std::string("minmax"),
           "how groups are fitted; weighted: by the input's mean square; feedback: by what is left "
           "of "
           "it after error feedback",
           -1e300,
           1e300,
           {"minmax", "search", "weighted", "feedback"}},
          {"steps", int64_t{20}, "ranges tried for each end, if searched", 1, 1000},
          {"batch", int64_t{128}, "columns between matrix products", 1, 4096},
          {"refine", int64_t{0}, "sweeps of coordinate descent afterwards", 0, 100}}};
};

const Registration<Solver, Gptq> kRegistration;

}  // namespace
}  // namespace bitsmith
