// What is added back to coded weights: the interface of every residual.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "core/registry.h"
#include "graph/graph.h"
#include "solvers/solver.h"

namespace bitsmith {

// A parameter that a residual adds to a graph, and how it is coded.
struct ResidualParameter {
  ValueId id = kNoValue;
  Scheme scheme;
};

struct ResidualSolution {
  // The coded weights. `values` are what the codes alone decode to; `row_error` is that of the
  // codes and the residual together.
  Solution codes;
  // Of each parameter, in the order in which attach() names them.
  std::vector<std::vector<std::byte>> bytes;
  std::vector<std::vector<float>> values;
};

// A residual is a branch of the graph beside a linear layer, whose output is added to the layer's:
// executors, operation counts and byte counts see parameters and nodes like any others.
class Residual {
 public:
  static const char* kind() { return "residual"; }
  virtual ~Residual() = default;
  virtual const PartInfo& info() const = 0;

  // Throws kInvalidArgument, naming the option, if one asks for what is not there.
  //   knows_inputs: whether there will be statistics, from calibration or an importance matrix
  virtual void check(const Options& /*options*/, bool /*knows_inputs*/) const {}

  // Puts the branch behind node `node`, a linear layer whose weight [rows, cols] nobody else reads:
  // whoever read the layer's output reads the sum. Nodes before it keep their numbers. Throws
  // kUnsupported if the layer has such a branch already.
  virtual std::vector<ResidualParameter> attach(Graph& graph, size_t node,
                                                const Options& options) const = 0;

  // Chooses the codes of a layer's weights, by `solver`, and of the branch together. The sum of
  // row_error is at most that of the codes which the solver chooses alone, or of the branch that
  // the options start with. The same for any number of threads.
  virtual ResidualSolution solve(const Problem& problem, const Solver& solver,
                                 const Options& solver_options, const Options& options,
                                 ThreadPool& pool) const = 0;

  // Adds to rows [row_begin, row_begin + row_count) of a matrix of this shape, out
  // [row_count, cols], what the branch amounts to.
  virtual void add_to(const MatrixShape& shape, const std::vector<std::vector<float>>& values,
                      int64_t row_begin, int64_t row_count, float* out) const = 0;

  // The same to all of it, out [rows, cols].
  void add_to_all(const MatrixShape& shape, const std::vector<std::vector<float>>& values,
                  float* out, ThreadPool& pool) const {
    constexpr int64_t kRows = 64;
    pool.run(ceil_div(shape.rows, kRows), [&](int64_t part, int) {
      const int64_t begin = part * kRows;
      add_to(shape, values, begin, std::min(kRows, shape.rows - begin), out + begin * shape.cols);
    });
  }

  // How often solve() calls the solver.
  virtual int64_t solver_calls(const Options& options) const = 0;
  // What solve() takes at its peak beside the problem and the solution, in bytes.
  //   of_solver: Solver::scratch_bytes(), for each weight
  virtual int64_t scratch_bytes(const MatrixShape& shape, const Options& options,
                                int64_t of_solver) const = 0;
};

}  // namespace bitsmith
