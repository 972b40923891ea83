// How codes are chosen: the interface of every solver.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "codecs/codec.h"
#include "core/thread_pool.h"

namespace bitsmith {

// What is known about the input of one linear layer, with the factorisations that solvers share:
// layers that read the same activation (q, k, v) and all candidate schemes of a layer use one.
class InputStatistics {
 public:
  // second_moment [cols, cols] row-major float64, symmetric, mean of x xᵀ over tokens. Throws
  // kInvalidArgument if a number in it is not finite or its diagonal is negative.
  InputStatistics(int64_t cols, std::vector<double> second_moment);
  ~InputStatistics();

  int64_t cols() const { return cols_; }
  const std::vector<double>& second_moment() const { return second_moment_; }
  std::vector<float> importance() const;  // the diagonal, [cols]

  // (H + damping * mean(diag H) * I), with columns in `order`, as  U diag(d) Uᵀ:
  //   unit upper triangular, rows and columns permuted: entry (i, j) belongs to columns order[i],
  //   order[j]. A column whose input is always zero is treated as having the mean diagonal.
  struct Factor {
    std::vector<int64_t> order;  // [cols]
    std::vector<float> unit;     // U [cols, cols] row-major; below the diagonal: zeros
    std::vector<float> pivots;   // d [cols]
  };
  // Computed on first use for each set of arguments and kept, 4 cols² bytes. O(cols³ / 3), in
  // float64, with another 4 cols² bytes of scratch. Same bits for any number of threads. Throws
  // kInvalidArgument if the damped matrix is singular.
  //   descending: columns by falling diagonal (activation order), else as they are
  //   block_cols: columns are moved in blocks of this many, by the sum of their diagonals
  const Factor& factor(double damping, bool descending, int64_t block_cols, ThreadPool& pool) const;

 private:
  int64_t cols_;
  std::vector<double> second_moment_;
  struct Cache;
  std::unique_ptr<Cache> cache_;
};

struct Problem {
  std::span<const float> weights;  // [rows, cols] row-major
  MatrixShape shape;
  const InputStatistics* statistics = nullptr;  // nullptr: unknown, every direction counts the same
  Scheme scheme;
};

struct Solution {
  std::vector<std::byte> bytes;   // Codec::encoded_bytes() of them
  std::vector<float> values;      // [rows, cols] row-major, what the bytes decode to
  std::vector<double> row_error;  // [rows]: (w - q) H (w - q)ᵀ, or |w - q|² without statistics
};

class Solver {
 public:
  static const char* kind() { return "solver"; }
  virtual ~Solver() = default;
  virtual const PartInfo& info() const = 0;
  virtual bool needs_statistics() const { return false; }
  // What solve() takes at its peak beside the problem and the solution, in bytes per weight: codes,
  // and a copy of the weights that errors are fed into or measured on.
  virtual int64_t scratch_bytes([[maybe_unused]] bool has_statistics) const { return 5; }

  // The same solution for any number of threads. Rows are independent: solving some rows alone
  // gives the same codes for them. Throws kInvalidArgument if weights are not finite.
  virtual Solution solve(const Problem& problem, const Options& options,
                         ThreadPool& pool) const = 0;
};

}  // namespace bitsmith
