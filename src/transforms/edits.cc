#include "transforms/edits.h"

#include <algorithm>

#include "calibration/blas.h"
#include "core/error.h"

namespace bitsmith::edits {
namespace {

constexpr int64_t kRows = 16;     // of one task
constexpr int64_t kColumns = 16;  // of one task: a cache line of each row
constexpr int64_t kTile = 64;     // rows of one task of matrix products

}  // namespace

ParameterEdit rotate_inputs(std::shared_ptr<const HadamardRotation> rotation) {
  return [rotation](std::span<float> weights, const MatrixShape& shape, ThreadPool& pool) {
    BITSMITH_ASSERT(shape.cols % rotation->size() == 0);
    const int64_t runs = shape.cols / rotation->size();
    pool.run(ceil_div(shape.rows, kRows), [&](int64_t part, int) {
      const int64_t begin = part * kRows;
      const int64_t count = std::min(kRows, shape.rows - begin);
      float* const w = weights.data() + begin * shape.cols;
      rotation->apply(w, count * runs, w);
    });
  };
}

ParameterEdit rotate_outputs(std::shared_ptr<const HadamardRotation> rotation) {
  return [rotation](std::span<float> weights, const MatrixShape& shape, ThreadPool& pool) {
    BITSMITH_ASSERT(shape.rows % rotation->size() == 0);
    const int64_t runs = shape.rows / rotation->size();
    pool.run(ceil_div(shape.cols, kColumns), [&](int64_t part, int) {
      const int64_t begin = part * kColumns;
      const int64_t count = std::min(kColumns, shape.cols - begin);
      std::vector<float> columns(static_cast<size_t>(count * shape.rows));
      for (int64_t r = 0; r < shape.rows; ++r) {
        const float* row = weights.data() + r * shape.cols + begin;
        for (int64_t c = 0; c < count; ++c)
          columns[static_cast<size_t>(c * shape.rows + r)] = row[c];
      }
      rotation->apply(columns.data(), count * runs, columns.data());
      for (int64_t r = 0; r < shape.rows; ++r) {
        float* row = weights.data() + r * shape.cols + begin;
        for (int64_t c = 0; c < count; ++c)
          row[c] = columns[static_cast<size_t>(c * shape.rows + r)];
      }
    });
  };
}

ParameterEdit multiply_inputs(std::shared_ptr<const std::vector<float>> q) {
  return [q](std::span<float> weights, const MatrixShape& shape, ThreadPool& pool) {
    BITSMITH_ASSERT(static_cast<int64_t>(q->size()) == shape.cols * shape.cols);
    const auto n = static_cast<int>(shape.cols);
    run_blas_tasks(pool, ceil_div(shape.rows, kTile), [&](int64_t part, int) {
      const auto count = static_cast<int>(std::min(kTile, shape.rows - part * kTile));
      float* const w = weights.data() + part * kTile * n;
      const std::vector<float> old(w, w + static_cast<int64_t>(count) * n);
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, count, n, n, 1.0F, old.data(), n,
                  q->data(), n, 0.0F, w, n);
    });
  };
}

ParameterEdit multiply_outputs(std::shared_ptr<const std::vector<float>> q) {
  return [q](std::span<float> weights, const MatrixShape& shape, ThreadPool& pool) {
    BITSMITH_ASSERT(static_cast<int64_t>(q->size()) == shape.rows * shape.rows);
    const auto n = static_cast<int>(shape.rows);
    const auto cols = static_cast<int>(shape.cols);
    const std::vector<float> old(weights.begin(), weights.end());
    run_blas_tasks(pool, ceil_div(shape.rows, kTile), [&](int64_t part, int) {
      const int64_t begin = part * kTile;
      const auto count = static_cast<int>(std::min(kTile, shape.rows - begin));
      cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, count, cols, n, 1.0F, q->data() + begin,
                  n, old.data(), cols, 0.0F, weights.data() + begin * cols, cols);
    });
  };
}

ParameterEdit scale_inputs(std::vector<float> factors) {
  return [factors = std::move(factors)](std::span<float> weights, const MatrixShape& shape,
                                        ThreadPool& pool) {
    BITSMITH_ASSERT(shape.cols == static_cast<int64_t>(factors.size()));
    pool.run(ceil_div(shape.rows, kRows), [&](int64_t part, int) {
      const int64_t end = std::min((part + 1) * kRows, shape.rows);
      for (int64_t r = part * kRows; r < end; ++r) {
        float* row = weights.data() + r * shape.cols;
        for (int64_t c = 0; c < shape.cols; ++c) row[c] *= factors[static_cast<size_t>(c)];
      }
    });
  };
}

ParameterEdit shift(std::vector<float> addend) {
  return [addend = std::move(addend)](std::span<float> vector, const MatrixShape&, ThreadPool&) {
    BITSMITH_ASSERT(vector.size() == addend.size());
    for (size_t c = 0; c < addend.size(); ++c) vector[c] += addend[c];
  };
}

ParameterEdit scale_outputs(std::vector<float> factors) {
  return [factors = std::move(factors)](std::span<float> weights, const MatrixShape& shape,
                                        ThreadPool& pool) {
    BITSMITH_ASSERT(shape.rows == static_cast<int64_t>(factors.size()));
    pool.run(shape.rows, [&](int64_t r, int) {
      float* row = weights.data() + r * shape.cols;
      for (int64_t c = 0; c < shape.cols; ++c) row[c] *= factors[static_cast<size_t>(r)];
    });
  };
}

ParameterEdit reorder_inputs(std::vector<int64_t> order) {
  return [order = std::move(order)](std::span<float> weights, const MatrixShape& shape,
                                    ThreadPool& pool) {
    BITSMITH_ASSERT(shape.cols == static_cast<int64_t>(order.size()));
    pool.run(ceil_div(shape.rows, kRows), [&](int64_t part, int) {
      const int64_t end = std::min((part + 1) * kRows, shape.rows);
      std::vector<float> old(order.size());
      for (int64_t r = part * kRows; r < end; ++r) {
        float* row = weights.data() + r * shape.cols;
        std::copy_n(row, shape.cols, old.data());
        for (size_t c = 0; c < order.size(); ++c) row[c] = old[static_cast<size_t>(order[c])];
      }
    });
  };
}

ParameterEdit reorder_outputs(std::vector<int64_t> order) {
  return
      [order = std::move(order)](std::span<float> weights, const MatrixShape& shape, ThreadPool&) {
        BITSMITH_ASSERT(shape.rows == static_cast<int64_t>(order.size()));
        const std::vector<float> old(weights.begin(), weights.end());
        for (int64_t r = 0; r < shape.rows; ++r) {
          std::copy_n(old.data() + order[static_cast<size_t>(r)] * shape.cols, shape.cols,
                      weights.data() + r * shape.cols);
        }
      };
}

}  // namespace bitsmith::edits
