// Solver `admm`: weights free of codes and codes free of the layer's error, drawn to each other.
#include <cblas.h>

#include <algorithm>
#include <numeric>

#include "calibration/blas.h"
#include "core/interrupt.h"
#include "solvers/coordinate_descent.h"
#include "solvers/direct.h"

namespace bitsmith {
namespace {

// X with X (H + rho I) = target + rho (codes - dual), for all rows; H + rho I = U diag(d) Uᵀ.
class FreeWeights {
 public:
  FreeWeights(const Problem& problem, double penalty, ThreadPool& pool)
      : cols_(problem.shape.cols),
        rows_(problem.shape.rows),
        factor_(problem.statistics->factor(penalty, false, 1, pool)),
        target_(problem.weights.size()) {
    std::vector<float> moment = single_precision_moment(*problem.statistics, pool);
    double mean = 0;
    for (int64_t c = 0; c < cols_; ++c) mean += static_cast<double>(moment[at(c, c)]);
    mean = mean > 0 ? mean / static_cast<double>(cols_) : 1.0;
    // As the factor has it.
    for (int64_t c = 0; c < cols_; ++c) {
      if (moment[at(c, c)] == 0) moment[at(c, c)] = static_cast<float>(mean);
    }
    rho_ = static_cast<float>(penalty * mean);
    for_chunks(pool, [&](int64_t row, int64_t rows, std::vector<float>& chunk) {
      std::copy_n(problem.weights.data() + row * cols_, rows * cols_, chunk.data());
      std::vector<float> product(chunk.size());
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kChunkRows, static_cast<int>(cols_),
                  static_cast<int>(cols_), 1.0F, chunk.data(), static_cast<int>(cols_),
                  moment.data(), static_cast<int>(cols_), 0.0F, product.data(),
                  static_cast<int>(cols_));
      std::copy_n(product.data(), rows * cols_, target_.data() + row * cols_);
    });
  }

  // Adds the dual to the free weights: what is coded next.
  std::vector<float> plus_dual(const std::vector<float>& codes, const std::vector<float>& dual,
                               ThreadPool& pool) const {
    std::vector<float> result(target_.size());
    for_chunks(pool, [&](int64_t row, int64_t rows, std::vector<float>& chunk) {
      const auto first = static_cast<size_t>(row * cols_);
      const auto count = static_cast<size_t>(rows * cols_);
      for (size_t i = 0; i < count; ++i) {
        chunk[i] = target_[first + i] + rho_ * (codes[first + i] - dual[first + i]);
      }
      const auto divide = [&](CBLAS_TRANSPOSE transpose) {
        cblas_strsm(CblasRowMajor, CblasRight, CblasUpper, transpose, CblasUnit, kChunkRows,
                    static_cast<int>(cols_), 1.0F, factor_.unit.data(), static_cast<int>(cols_),
                    chunk.data(), static_cast<int>(cols_));
      };
      divide(CblasTrans);
      for (size_t i = 0; i < chunk.size(); ++i) {
        chunk[i] /= factor_.pivots[i % static_cast<size_t>(cols_)];
      }
      divide(CblasNoTrans);
      for (size_t i = 0; i < count; ++i) result[first + i] = chunk[i] + dual[first + i];
    });
    return result;
  }

 private:
  size_t at(int64_t row, int64_t col) const { return static_cast<size_t>(row * cols_ + col); }

  // body(first row, rows, [kChunkRows][cols] of zeros)
  template <class Body>
  void for_chunks(ThreadPool& pool, const Body& body) const {
    run_blas_tasks(pool, ceil_div(rows_, kChunkRows), [&](int64_t i, int) {
      std::vector<float> chunk(static_cast<size_t>(kChunkRows * cols_));
      const int64_t row = i * kChunkRows;
      body(row, std::min(kChunkRows, rows_ - row), chunk);
    });
  }

  int64_t cols_;
  int64_t rows_;
  const InputStatistics::Factor& factor_;
  std::vector<float> target_;  // weights H
  float rho_ = 0;
};

class Admm final : public Solver {
 public:
  const PartInfo& info() const override { return info_; }
  bool needs_statistics() const override { return true; }
  int64_t scratch_bytes(bool has_statistics) const override {
    return direct_scratch_bytes(has_statistics) + 6 * 4;
  }

  Solution solve(const Problem& problem, const Options& options, ThreadPool& pool) const override {
    check_problem(problem, info_.id);
    if (problem.statistics == nullptr) {
      fail(ErrorCode::kInvalidArgument, "solver 'admm' needs calibration statistics of the layer");
    }
    const auto steps = static_cast<int>(options.integer("steps"));
    const auto code = [&](const std::vector<float>& numbers) {
      Problem part = problem;
      part.weights = numbers;
      Solution solution = code_directly(part, steps, {}, pool);
      solution.row_error = row_errors(problem, solution.values, pool);
      return solution;
    };
    std::vector<float> best(problem.weights.begin(), problem.weights.end());
    Solution plain = code(best);
    if (problem.weights.empty()) return plain;
    const FreeWeights free(problem, options.number("penalty"), pool);
    const auto cols = static_cast<size_t>(problem.shape.cols);
    std::vector<double> least = plain.row_error;
    std::vector<float> codes = plain.values;
    std::vector<float> dual(codes.size());
    for (int64_t i = 0; i < options.integer("iterations"); ++i) {
      check_interrupt();
      const std::vector<float> wanted = free.plus_dual(codes, dual, pool);
      const Solution next = code(wanted);
      codes = next.values;
      for (size_t k = 0; k < dual.size(); ++k) dual[k] = wanted[k] - codes[k];
      for (size_t row = 0; row < least.size(); ++row) {
        if (!(next.row_error[row] < least[row])) continue;
        least[row] = next.row_error[row];
        std::copy_n(wanted.begin() + static_cast<ptrdiff_t>(row * cols), cols,
                    best.begin() + static_cast<ptrdiff_t>(row * cols));
      }
    }
    // Rows of codecs that share something between rows may come out otherwise.
    Solution result = code(best);
    const auto total = [](const Solution& solution) {
      return std::accumulate(solution.row_error.begin(), solution.row_error.end(), 0.0);
    };
    return total(result) < total(plain) ? result : plain;
  }

 private:
  PartInfo info_{
      .id = "admm",
      .summary = "weights that keep the layer's output and codes, drawn to each other in turns",
      .source =
          "Boyd et al. 2011, doi:10.1561/2200000016, section 9; of masks: Boža 2024, "
          "arXiv:2401.02938; differs: codes are chosen anew in each turn, each row keeps its best",
      .options = {
          {"iterations", int64_t{20}, "turns", 1, 1000},
          {"penalty", 0.5, "of the distance between both, in parts of H's mean diagonal", 1e-4,
           100},
          {"steps", int64_t{0}, "ranges tried for each end of a group; 0: its extremes", 0, 1000}}};
};

const Registration<Solver, Admm> kRegistration;

}  // namespace
}  // namespace bitsmith
