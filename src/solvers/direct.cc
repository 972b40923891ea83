#include "solvers/direct.h"

#include <algorithm>
#include <cmath>

#include "calibration/blas.h"
#include "core/error.h"

namespace bitsmith {
namespace {

// Columns of H that are multiplied at a time.
constexpr int64_t kStripCols = 256;

std::vector<double> squared_errors(const Problem& problem, const std::vector<float>& values,
                                   ThreadPool& pool) {
  const auto [rows, cols] = problem.shape;
  std::vector<double> errors(static_cast<size_t>(rows));
  pool.run(ceil_div(rows, kChunkRows), [&, cols = cols, rows = rows](int64_t chunk, int) {
    const int64_t end = std::min((chunk + 1) * kChunkRows, rows);
    for (int64_t row = chunk * kChunkRows; row < end; ++row) {
      const float* w = problem.weights.data() + row * cols;
      const float* q = values.data() + row * cols;
      double sum = 0;
      for (int64_t c = 0; c < cols; ++c) {
        const double difference = static_cast<double>(w[c]) - static_cast<double>(q[c]);
        sum += difference * difference;
      }
      errors[static_cast<size_t>(row)] = sum;
    }
  });
  return errors;
}

}  // namespace

void check_problem(const Problem& problem, std::string_view solver) {
  const auto [rows, cols] = problem.shape;
  BITSMITH_ASSERT(problem.scheme.codec != nullptr);
  BITSMITH_ASSERT(rows >= 0 && cols >= 0);
  BITSMITH_ASSERT(problem.weights.size() == static_cast<size_t>(rows * cols));
  if (problem.statistics != nullptr && problem.statistics->cols() != cols) {
    fail(ErrorCode::kInvalidArgument,
         "solver '{}': the weights have {} input features, the statistics {}", solver, cols,
         problem.statistics->cols());
  }
  const auto bad = std::ranges::find_if(problem.weights, [](float w) { return !std::isfinite(w); });
  if (bad != problem.weights.end()) {
    const int64_t index = bad - problem.weights.begin();
    fail(
        ErrorCode::kInvalidArgument,
        "solver '{}': the weight at row {}, column {} is {}; only finite weights can be compressed",
        solver, index / cols, index % cols, *bad);
  }
}

void load_panel(const float* w, int64_t cols, int64_t rows, int64_t col_begin, int64_t col_count,
                float* panel) {
  if (rows < kChunkRows) std::fill_n(panel, col_count * kChunkRows, 0.0F);
  // Tiles of 16 x 16 stay in the first-level cache in both orders.
  constexpr int64_t kTile = 16;
  for (int64_t c0 = 0; c0 < col_count; c0 += kTile) {
    const int64_t c1 = std::min(c0 + kTile, col_count);
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = w + r * cols + col_begin;
      for (int64_t c = c0; c < c1; ++c) panel[c * kChunkRows + r] = row[c];
    }
  }
}

void store_panel(const float* panel, int64_t cols, int64_t rows, int64_t col_begin,
                 int64_t col_count, float* w) {
  constexpr int64_t kTile = 16;
  for (int64_t c0 = 0; c0 < col_count; c0 += kTile) {
    const int64_t c1 = std::min(c0 + kTile, col_count);
    for (int64_t r = 0; r < rows; ++r) {
      float* row = w + r * cols + col_begin;
      for (int64_t c = c0; c < c1; ++c) row[c] = panel[c * kChunkRows + r];
    }
  }
}

std::unique_ptr<Encoder> prepared_encoder(const Problem& problem, int search_steps,
                                          const std::vector<float>& importance, ThreadPool& pool) {
  auto encoder = problem.scheme.codec->encoder(problem.shape, problem.scheme.options);
  FitOptions fit{.search_steps = search_steps};
  if (!importance.empty()) fit.importance = importance.data();
  encoder->prepare(problem.weights, fit, pool);
  return encoder;
}

Solution code_directly(const Problem& problem, int search_steps,
                       const std::vector<float>& importance, ThreadPool& pool) {
  const auto [rows, cols] = problem.shape;
  const Codec& codec = *problem.scheme.codec;
  const Options& options = problem.scheme.options;
  Solution solution;
  solution.bytes.resize(codec.encoded_bytes(problem.shape, options));
  solution.values.resize(problem.weights.size());
  {
    const auto encoder = prepared_encoder(problem, search_steps, importance, pool);
    const int64_t group_cols = encoder->group_cols();
    const int64_t block_cols = encoder->block_cols();
    pool.run(ceil_div(rows, kChunkRows), [&, rows = rows, cols = cols](int64_t chunk, int) {
      const int64_t row = chunk * kChunkRows;
      const int64_t count = std::min(kChunkRows, rows - row);
      const int64_t widest = ceil_div(std::min(group_cols, cols), block_cols) * block_cols;
      std::vector<float> w(static_cast<size_t>(widest * kChunkRows));
      std::vector<float> q(static_cast<size_t>(widest * kChunkRows));
      for (int64_t begin = 0; begin < cols; begin += group_cols) {
        const int64_t width = std::min(group_cols, cols - begin);
        load_panel(problem.weights.data() + row * cols, cols, count, begin, width, w.data());
        std::fill(w.begin() + width * kChunkRows, w.end(), 0.0F);
        FitOptions fit{.search_steps = search_steps};
        if (!importance.empty()) fit.importance = importance.data() + begin;
        encoder->fit_group(begin / group_cols, row, count, w.data(), kChunkRows, fit);
        for (int64_t c = 0; c < width; c += block_cols) {
          encoder->quantize(begin + c, row, count, w.data() + c * kChunkRows,
                            q.data() + c * kChunkRows, kChunkRows);
        }
        store_panel(q.data(), cols, count, begin, width, solution.values.data() + row * cols);
      }
    });
    encoder->finish(solution.bytes);
  }
  return solution;
}

Solution solve_directly(const Problem& problem, int search_steps,
                        const std::vector<float>& importance, ThreadPool& pool) {
  Solution solution = code_directly(problem, search_steps, importance, pool);
  solution.row_error = row_errors(problem, solution.values, pool);
  return solution;
}

// With E = W - Q and H cut into strips of columns [b, e), the error of a row is, by symmetry,
//     Σ over strips of  (2 E[:, 0:b] H[0:b, b:e] + E[:, b:e] H[b:e, b:e]) · E[:, b:e]
// which takes half the products of the whole quadratic form.
std::vector<double> row_errors(const Problem& problem, const std::vector<float>& values,
                               ThreadPool& pool) {
  if (problem.statistics == nullptr) return squared_errors(problem, values, pool);
  const auto [rows, cols] = problem.shape;
  const std::vector<double>& h = problem.statistics->second_moment();
  std::vector<double> errors(static_cast<size_t>(rows));
  std::vector<float> e(values.size());
  for (size_t i = 0; i < e.size(); ++i) e[i] = problem.weights[i] - values[i];
  std::vector<float> strip(static_cast<size_t>(cols * std::min(cols, kStripCols)));

  for (int64_t begin = 0; begin < cols; begin += kStripCols) {
    const int64_t width = std::min(kStripCols, cols - begin);
    const int64_t depth = begin + width;
    pool.run(ceil_div(depth, kStripCols), [&, cols = cols](int64_t tile, int) {
      const int64_t end = std::min((tile + 1) * kStripCols, depth);
      for (int64_t i = tile * kStripCols; i < end; ++i) {
        const double factor = i < begin ? 2.0 : 1.0;
        const double* from = h.data() + i * cols + begin;
        float* to = strip.data() + i * width;
        for (int64_t j = 0; j < width; ++j) to[j] = static_cast<float>(factor * from[j]);
      }
    });
    run_blas_tasks(
        pool, ceil_div(rows, kChunkRows), [&, rows = rows, cols = cols](int64_t chunk, int) {
          const int64_t row = chunk * kChunkRows;
          const int64_t count = std::min(kChunkRows, rows - row);
          std::vector<float> product(static_cast<size_t>(kChunkRows * width));
          cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(count),
                      static_cast<int>(width), static_cast<int>(depth), 1.0F, e.data() + row * cols,
                      static_cast<int>(cols), strip.data(), static_cast<int>(width), 0.0F,
                      product.data(), static_cast<int>(width));
          for (int64_t r = 0; r < count; ++r) {
            const float* a = product.data() + r * width;
            const float* b = e.data() + (row + r) * cols + begin;
            double sum = 0;
            for (int64_t j = 0; j < width; ++j)
              sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
            errors[static_cast<size_t>(row + r)] += sum;
          }
        });
  }
  // Rounding can leave a tiny negative number where the true error is zero.
  for (double& error : errors) error = std::max(error, 0.0);
  return errors;
}

}  // namespace bitsmith
