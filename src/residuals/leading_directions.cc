#include "residuals/leading_directions.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "calibration/blas.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/random.h"

namespace bitsmith {
namespace {

constexpr int64_t kMore = 8;  // directions that are followed beyond the wanted ones

// How many are followed.
int64_t followed(const MatrixShape& shape, int64_t count) {
  return std::min(std::min(count, shape.cols) + kMore, shape.rows);
}

// Rows of `vectors` [count, size]. Those that depend on earlier ones are left out.
class Basis {
 public:
  Basis(int64_t how_many, int64_t extent)
      : count(how_many), size(extent), values(static_cast<size_t>(how_many * extent)) {}
  double* row(int64_t i) { return values.data() + i * size; }
  const double* row(int64_t i) const { return values.data() + i * size; }

  // Gram-Schmidt, each row twice.
  void make_orthonormal() {
    constexpr double kDependent = 1e-10;  // of its length is left
    const auto n = static_cast<int>(size);
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      double* const x = row(i);
      const double before = cblas_dnrm2(n, x, 1);
      for (int pass = 0; pass < 2; ++pass) {
        for (int64_t j = 0; j < kept; ++j) {
          cblas_daxpy(n, -cblas_ddot(n, row(j), 1, x, 1), row(j), 1, x, 1);
        }
      }
      const double after = cblas_dnrm2(n, x, 1);
      if (!(after > kDependent * before)) continue;
      cblas_dscal(n, 1 / after, x, 1);
      if (kept < i) std::copy_n(x, size, row(kept));
      ++kept;
    }
    count = kept;
    values.resize(static_cast<size_t>(count * size));
  }

  int64_t count;
  int64_t size;
  std::vector<double> values;
};

// Eigenvalues of a symmetric matrix a [n, n], descending; row i of `vectors` belongs to the i-th.
// Cyclic Jacobi rotations (Golub & Van Loan, section 8.5).
struct SymmetricEigen {
  std::vector<double> values;
  std::vector<double> vectors;

  SymmetricEigen(std::vector<double> a, size_t n) {
    std::vector<double> v(n * n, 0.0);
    for (size_t i = 0; i < n; ++i) v[i * n + i] = 1;
    constexpr int kSweeps = 30;
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      double off = 0;
      double on = 0;
      for (size_t i = 0; i < n; ++i) {
        on += a[i * n + i] * a[i * n + i];
        for (size_t j = 0; j < i; ++j) off += a[i * n + j] * a[i * n + j];
      }
      if (!(off > 1e-24 * on)) break;
      for (size_t p = 0; p < n; ++p) {
        for (size_t q = p + 1; q < n; ++q) rotate(a, v, n, p, q);
      }
    }
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order,
                             [&](size_t i, size_t j) { return a[i * n + i] > a[j * n + j]; });
    for (const size_t i : order) {
      values.push_back(a[i * n + i]);
      vectors.insert(vectors.end(), v.begin() + static_cast<std::ptrdiff_t>(i * n),
                     v.begin() + static_cast<std::ptrdiff_t>((i + 1) * n));
    }
  }

 private:
  // Makes a[p, q] zero; rows of v are the vectors.
  static void rotate(std::vector<double>& a, std::vector<double>& v, size_t n, size_t p, size_t q) {
    const double apq = a[p * n + q];
    if (apq == 0) return;
    const double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
    const double t = (theta >= 0 ? 1.0 : -1.0) / (std::abs(theta) + std::hypot(theta, 1.0));
    const double c = 1 / std::hypot(t, 1.0);
    const double s = t * c;
    for (size_t k = 0; k < n; ++k) {
      const double akp = a[k * n + p];
      const double akq = a[k * n + q];
      a[k * n + p] = c * akp - s * akq;
      a[k * n + q] = s * akp + c * akq;
    }
    for (size_t k = 0; k < n; ++k) {
      const double apk = a[p * n + k];
      const double aqk = a[q * n + k];
      a[p * n + k] = c * apk - s * aqk;
      a[q * n + k] = s * apk + c * aqk;
      const double vpk = v[p * n + k];
      const double vqk = v[q * n + k];
      v[p * n + k] = c * vpk - s * vqk;
      v[q * n + k] = s * vpk + c * vqk;
    }
  }
};

// x E H Eᵀ for rows x.
class Operator {
 public:
  Operator(std::span<const float> error, const MatrixShape& shape,
           const std::vector<double>* moment, ThreadPool& pool)
      : error_(error.begin(), error.end()), shape_(shape), moment_(moment), pool_(pool) {}

  Basis apply(const Basis& x) const {
    const int64_t cols = shape_.cols;
    Basis inputs = multiply(x, error_.data(), cols, CblasNoTrans);
    if (moment_ != nullptr) inputs = multiply(inputs, moment_->data(), cols, CblasNoTrans);
    return multiply(inputs, error_.data(), shape_.rows, CblasTrans);
  }

 private:
  // x [count, size] times m [size, columns], or the transposed m [columns, size].
  Basis multiply(const Basis& x, const double* m, int64_t columns, CBLAS_TRANSPOSE order) const {
    Basis y(x.count, columns);
    const bool plain = order == CblasNoTrans;
    const int64_t stride = plain ? columns : x.size;
    run_blas_tiles(pool_, columns, [&](int64_t begin, int64_t count) {
      cblas_dgemm(CblasRowMajor, CblasNoTrans, order, static_cast<int>(x.count),
                  static_cast<int>(count), static_cast<int>(x.size), 1.0, x.values.data(),
                  static_cast<int>(x.size), m + begin * (plain ? 1 : stride),
                  static_cast<int>(stride), 0.0, y.values.data() + begin,
                  static_cast<int>(columns));
    });
    return y;
  }

  std::vector<double> error_;
  MatrixShape shape_;
  const std::vector<double>* moment_;
  ThreadPool& pool_;
};

// a bᵀ [a.count, b.count].
std::vector<double> products(const Basis& a, const Basis& b) {
  std::vector<double> result(static_cast<size_t>(a.count * b.count));
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(a.count),
              static_cast<int>(b.count), static_cast<int>(a.size), 1.0, a.values.data(),
              static_cast<int>(a.size), b.values.data(), static_cast<int>(b.size), 0.0,
              result.data(), static_cast<int>(b.count));
  return result;
}

Basis rotated(const std::vector<double>& by, const Basis& x) {
  Basis y(x.count, x.size);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(x.count),
              static_cast<int>(x.size), static_cast<int>(x.count), 1.0, by.data(),
              static_cast<int>(x.count), x.values.data(), static_cast<int>(x.size), 0.0,
              y.values.data(), static_cast<int>(x.size));
  return y;
}

// On this thread alone.
template <class Body>
void with_one_blas_thread(ThreadPool& pool, const Body& body) {
  run_blas_tasks(pool, 1, [&](int64_t, int) { body(); });
}

}  // namespace

// In apply() there are the vectors and up to two others, of which one or both have [cols]; for
// Rayleigh and Ritz there are three of [rows] and four matrices [count, count].
int64_t leading_directions_bytes(const MatrixShape& shape, int64_t count) {
  const int64_t k = followed(shape, count);
  const auto [rows, cols] = shape;
  const int64_t applied = k * (rows + std::max(rows + cols, 2 * cols));
  return 8 * (rows * cols + std::max(applied, k * (3 * rows + 4 * k)));
}

LeadingDirections leading_directions(std::span<const float> error, const MatrixShape& shape,
                                     const std::vector<double>* moment, int64_t count,
                                     ThreadPool& pool) {
  BITSMITH_ASSERT(static_cast<int64_t>(error.size()) == shape.rows * shape.cols);
  constexpr int kRounds = 60;
  constexpr double kSettled = 1e-6;
  const int64_t most = std::min(shape.rows, shape.cols);
  count = std::min(count, most);
  LeadingDirections result;
  if (count == 0) return result;
  const Operator squares(error, shape, moment, pool);
  Basis x(followed(shape, count), shape.rows);
  Random random(1, "leading directions");
  for (double& v : x.values) v = random.normal();
  with_one_blas_thread(pool, [&] { x.make_orthonormal(); });
  double captured = 0;
  for (int round = 0; round < kRounds && x.count > 0; ++round) {
    check_interrupt();
    Basis y = squares.apply(x);
    with_one_blas_thread(pool, [&] {
      const SymmetricEigen ritz(products(x, y), static_cast<size_t>(x.count));
      result.energies = ritz.values;
      x = rotated(ritz.vectors, x);
      y = rotated(ritz.vectors, y);
    });
    const auto wanted = static_cast<std::ptrdiff_t>(std::min(count, x.count));
    const double sum =
        std::accumulate(result.energies.begin(), result.energies.begin() + wanted, 0.0);
    if (round > 0 && !(sum - captured > kSettled * sum)) break;
    captured = sum;
    if (round + 1 == kRounds) break;
    // The rotated x stays if this was the last round that finds anything.
    with_one_blas_thread(pool, [&] { y.make_orthonormal(); });
    if (y.count == 0) break;
    x = std::move(y);
  }
  // Directions without energy are none.
  const double least = 1e-14 * std::max(0.0, result.energies.empty() ? 0 : result.energies[0]);
  while (result.count < std::min(count, x.count) &&
         result.energies[static_cast<size_t>(result.count)] > least) {
    ++result.count;
  }
  result.energies.resize(static_cast<size_t>(result.count));
  result.vectors.assign(x.values.begin(), x.values.begin() + result.count * shape.rows);
  return result;
}

}  // namespace bitsmith
