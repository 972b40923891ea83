#include "solvers/coordinate_descent.h"

#include <algorithm>

#include "calibration/blas.h"
#include "core/error.h"

namespace bitsmith {
namespace {

constexpr int64_t kBatchCols = 128;

using RowVector = std::array<float, kChunkRows>;

// Gives column `col` its best code. gradient = (e H)_col; returns the change of the values.
RowVector improve_column(float h, int64_t col, int64_t row_begin, int64_t row_count,
                         const float* gradient, float* q, Encoder& encoder) {
  RowVector target;
  RowVector better;
  RowVector change{};
  const float inverse = 1.0F / h;
  for (size_t r = 0; r < kChunkRows; ++r) target[r] = q[r] + gradient[r] * inverse;
  encoder.quantize(col, row_begin, row_count, target.data(), better.data(), kChunkRows);
  for (size_t r = 0; r < static_cast<size_t>(row_count); ++r) {
    change[r] = better[r] - q[r];
    q[r] = better[r];
  }
  return change;
}

}  // namespace

std::vector<float> single_precision_moment(const InputStatistics& statistics, ThreadPool& pool) {
  const int64_t cols = statistics.cols();
  std::vector<float> moment(static_cast<size_t>(cols * cols));
  pool.run(ceil_div(cols, kBatchCols), [&](int64_t i, int) {
    const auto begin = static_cast<size_t>(i * kBatchCols * cols);
    const auto end = static_cast<size_t>(std::min((i + 1) * kBatchCols, cols) * cols);
    for (size_t at = begin; at < end; ++at) {
      moment[at] = static_cast<float>(statistics.second_moment()[at]);
    }
  });
  return moment;
}

void descend(const std::vector<float>& moment, int sweeps, int64_t row_begin, int64_t row_count,
             const std::vector<float>& weights, std::vector<float>& values, Encoder& encoder) {
  BITSMITH_ASSERT(encoder.block_cols() == 1 && weights.size() == values.size());
  const int64_t cols = static_cast<int64_t>(weights.size()) / kChunkRows;
  std::vector<float> errors(weights.size());
  for (size_t i = 0; i < errors.size(); ++i) errors[i] = weights[i] - values[i];
  std::vector<float> gradients(static_cast<size_t>(kBatchCols * kChunkRows));

  for (int sweep = 0; sweep < sweeps; ++sweep) {
    for (int64_t begin = 0; begin < cols; begin += kBatchCols) {
      const int64_t end = std::min(begin + kBatchCols, cols);
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(end - begin),
                  static_cast<int>(kChunkRows), static_cast<int>(cols), 1.0F,
                  moment.data() + begin * cols, static_cast<int>(cols), errors.data(),
                  static_cast<int>(kChunkRows), 0.0F, gradients.data(),
                  static_cast<int>(kChunkRows));
      for (int64_t k = begin; k < end; ++k) {
        const float* h = moment.data() + k * cols;
        if (!(h[k] > 0.0F)) continue;
        const RowVector change = improve_column(h[k], k, row_begin, row_count,
                                                gradients.data() + (k - begin) * kChunkRows,
                                                values.data() + k * kChunkRows, encoder);
        float* error = errors.data() + k * kChunkRows;
        for (size_t r = 0; r < kChunkRows; ++r) error[r] -= change[r];
        for (int64_t j = k + 1; j < end; ++j) {
          float* gradient = gradients.data() + (j - begin) * kChunkRows;
          for (size_t r = 0; r < kChunkRows; ++r) gradient[r] -= h[j] * change[r];
        }
      }
    }
  }
}

}  // namespace bitsmith
