// Input statistics of a layer and their factorisation, shared by solvers that feed errors forward.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <tuple>

#include "calibration/blas.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "solvers/solver.h"

namespace bitsmith {
namespace {

// Rows and columns of a tile of the factorisation; one BLAS call works on one tile.
constexpr int64_t kTile = 128;

// The lower triangle of a symmetric matrix, or its Cholesky factor, in strips of kTile rows.
// Strip s holds rows [s * kTile, ...) and columns [0, (s + 1) * kTile), row-major: half the memory
// of the full matrix.
class Strips {
 public:
  explicit Strips(int64_t size) : size_(size), strips_(static_cast<size_t>(ceil_div(size, kTile))) {
    for (int64_t s = 0; s < count(); ++s) {
      strips_[static_cast<size_t>(s)].resize(static_cast<size_t>(rows(s) * stride(s)));
    }
  }

  int64_t count() const { return static_cast<int64_t>(strips_.size()); }
  int64_t rows(int64_t s) const { return std::min(kTile, size_ - s * kTile); }
  int64_t stride(int64_t s) const { return std::min((s + 1) * kTile, size_); }
  // Row 0 of strip s, at the first column of tile column t <= s.
  double* tile(int64_t s, int64_t t) { return strips_[static_cast<size_t>(s)].data() + t * kTile; }
  const double* row(int64_t i) const {
    const int64_t s = i / kTile;
    return strips_[static_cast<size_t>(s)].data() + i % kTile * stride(s);
  }

 private:
  int64_t size_;
  std::vector<std::vector<double>> strips_;
};

// Cholesky factor of the n x n lower triangle `a` in place; false if a pivot is not above
// `smallest`.
bool factor_tile(double* a, int64_t n, int64_t stride, double smallest) {
  for (int64_t i = 0; i < n; ++i) {
    double* row = a + i * stride;
    for (int64_t j = 0; j <= i; ++j) {
      const double* other = a + j * stride;
      double sum = row[j];
      for (int64_t k = 0; k < j; ++k) sum -= row[k] * other[k];
      if (j < i) {
        row[j] = sum / other[j];
      } else {
        if (!(sum > smallest)) return false;
        row[i] = std::sqrt(sum);
      }
    }
  }
  return true;
}

// Cholesky, left-looking: tile column t is updated with all columns left of it, its diagonal tile
// is factored, the tiles below are solved. Every tile is one task.
bool factor_strips(Strips& a, double smallest, ThreadPool& pool) {
  for (int64_t t = 0; t < a.count(); ++t) {
    check_interrupt();
    const int64_t width = a.rows(t);
    run_blas_tasks(pool, t == 0 ? 0 : a.count() - t, [&](int64_t i, int) {
      const int64_t s = t + i;
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(a.rows(s)),
                  static_cast<int>(width), static_cast<int>(t * kTile), -1.0, a.tile(s, 0),
                  static_cast<int>(a.stride(s)), a.tile(t, 0), static_cast<int>(a.stride(t)), 1.0,
                  a.tile(s, t), static_cast<int>(a.stride(s)));
    });
    if (!factor_tile(a.tile(t, t), width, a.stride(t), smallest)) return false;
    run_blas_tasks(pool, a.count() - t - 1, [&](int64_t i, int) {
      const int64_t s = t + 1 + i;
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit,
                  static_cast<int>(a.rows(s)), static_cast<int>(width), 1.0, a.tile(t, t),
                  static_cast<int>(a.stride(t)), a.tile(s, t), static_cast<int>(a.stride(s)));
    });
  }
  return true;
}

// The diagonal, with columns that are never used given the mean (1 if none is used).
std::vector<double> usable_diagonal(int64_t cols, const std::vector<double>& h, double& mean) {
  std::vector<double> diagonal(static_cast<size_t>(cols));
  for (int64_t i = 0; i < cols; ++i) {
    diagonal[static_cast<size_t>(i)] = h[static_cast<size_t>(i * cols + i)];
  }
  mean = std::accumulate(diagonal.begin(), diagonal.end(), 0.0) / static_cast<double>(cols);
  if (!(mean > 0)) mean = 1.0;
  for (double& d : diagonal) {
    if (d == 0) d = mean;
  }
  return diagonal;
}

std::vector<int64_t> column_order(const std::vector<double>& diagonal, bool descending,
                                  int64_t block_cols) {
  const auto cols = static_cast<int64_t>(diagonal.size());
  std::vector<int64_t> order(diagonal.size());
  std::iota(order.begin(), order.end(), 0);
  if (!descending) return order;
  std::vector<double> sums(static_cast<size_t>(ceil_div(cols, block_cols)));
  for (int64_t c = 0; c < cols; ++c) {
    sums[static_cast<size_t>(c / block_cols)] += diagonal[static_cast<size_t>(c)];
  }
  // Columns of a block stay together and in order because the sort is stable; a last, shorter block
  // stays last, where its end is the matrix's end.
  const int64_t whole = cols / block_cols * block_cols;
  std::vector<int64_t> blocks(static_cast<size_t>(cols / block_cols));
  std::iota(blocks.begin(), blocks.end(), 0);
  std::ranges::stable_sort(blocks, [&](int64_t a, int64_t b) {
    return sums[static_cast<size_t>(a)] > sums[static_cast<size_t>(b)];
  });
  for (int64_t i = 0; i < whole; ++i) {
    order[static_cast<size_t>(i)] =
        blocks[static_cast<size_t>(i / block_cols)] * block_cols + i % block_cols;
  }
  return order;
}

}  // namespace

struct InputStatistics::Cache {
  std::mutex mutex;
  std::map<std::tuple<double, bool, int64_t>, Factor> factors;
};

InputStatistics::InputStatistics(int64_t cols, std::vector<double> second_moment)
    : cols_(cols), second_moment_(std::move(second_moment)), cache_(std::make_unique<Cache>()) {
  BITSMITH_ASSERT(cols >= 0 && second_moment_.size() == static_cast<size_t>(cols * cols));
  for (int64_t i = 0; i < cols; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      const double value = second_moment_[static_cast<size_t>(i * cols + j)];
      if (!std::isfinite(value) || (i == j && value < 0)) {
        fail(ErrorCode::kInvalidArgument,
             "input statistics: entry ({}, {}) of the second moment is {} (did an activation "
             "overflow during calibration?)",
             i, j, value);
      }
    }
  }
}

InputStatistics::~InputStatistics() = default;

std::vector<float> InputStatistics::importance() const {
  std::vector<float> diagonal(static_cast<size_t>(cols_));
  for (int64_t i = 0; i < cols_; ++i) {
    diagonal[static_cast<size_t>(i)] =
        static_cast<float>(second_moment_[static_cast<size_t>(i * cols_ + i)]);
  }
  return diagonal;
}

// U diag(d) Uᵀ is a Cholesky factorisation that starts at the last column: with rows and columns in
// reverse, the matrix is L Lᵀ and U(i, j) = L(n-1-i, n-1-j) / L(n-1-j, n-1-j), d(j) = L(n-1-j,
// n-1-j)².
const InputStatistics::Factor& InputStatistics::factor(double damping, bool descending,
                                                       int64_t block_cols, ThreadPool& pool) const {
  const std::lock_guard lock(cache_->mutex);
  const std::tuple key{damping, descending, descending ? block_cols : 1};
  if (const auto it = cache_->factors.find(key); it != cache_->factors.end()) return it->second;

  const int64_t n = cols_;
  double mean = 1.0;
  const std::vector<double> diagonal = usable_diagonal(n, second_moment_, mean);
  Factor factor;
  factor.order = column_order(diagonal, descending, block_cols);

  Strips a(n);
  pool.run(a.count(), [&](int64_t s, int) {
    for (int64_t i = s * kTile; i < s * kTile + a.rows(s); ++i) {
      double* row = a.tile(s, 0) + (i - s * kTile) * a.stride(s);
      const int64_t from = factor.order[static_cast<size_t>(n - 1 - i)];
      for (int64_t j = 0; j < i; ++j) {
        const int64_t other = factor.order[static_cast<size_t>(n - 1 - j)];
        row[j] = second_moment_[static_cast<size_t>(from * n + other)];
      }
      row[i] = diagonal[static_cast<size_t>(from)] + damping * mean;
    }
  });
  const double smallest = static_cast<double>(n) * std::numeric_limits<double>::epsilon() * mean;
  if (!factor_strips(a, smallest, pool)) {
    fail(ErrorCode::kInvalidArgument,
         "input statistics: the second moment of {} features is singular with damping {}; use more "
         "calibration text or a larger damping",
         n, damping);
  }

  factor.pivots.resize(static_cast<size_t>(n));
  std::vector<double> inverse(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) {
    const double root = a.row(n - 1 - j)[n - 1 - j];
    factor.pivots[static_cast<size_t>(j)] = static_cast<float>(root * root);
    inverse[static_cast<size_t>(j)] = 1.0 / root;
  }
  factor.unit.resize(static_cast<size_t>(n * n));
  pool.run(ceil_div(n, kTile), [&](int64_t s, int) {
    for (int64_t i = s * kTile; i < std::min((s + 1) * kTile, n); ++i) {
      const double* row = a.row(n - 1 - i);
      float* out = factor.unit.data() + i * n;
      for (int64_t j = i; j < n; ++j) {
        out[j] = static_cast<float>(row[n - 1 - j] * inverse[static_cast<size_t>(j)]);
      }
    }
  });
  return cache_->factors.emplace(key, std::move(factor)).first->second;
}

}  // namespace bitsmith
