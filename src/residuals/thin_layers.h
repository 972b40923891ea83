// Residuals that are a product of two matrices: two layers, one after the other, beside the codes.
#pragma once

#include <vector>

#include "residuals/residual.h"

namespace bitsmith {

// The branch B A [rows, cols]: `down` A [inner, cols] multiplies the layer's input, `up` B
// [rows, inner] what that gives. Subclasses say how wide it is inside, how the two are coded, and
// which pair they find for what codes leave.
class ThinLayers : public Residual {
 public:
  void check(const Options& options, bool knows_inputs) const override;
  std::vector<ResidualParameter> attach(Graph& graph, size_t node,
                                        const Options& options) const override;
  // The branch is found for given codes (or, to start with, for no codes), the codes are the
  // solver's for what the branch leaves; the best pair of all rounds is kept, since neither step
  // need improve on it: a solver chooses codes for its own reasons, and factors are rounded.
  ResidualSolution solve(const Problem& problem, const Solver& solver,
                         const Options& solver_options, const Options& options,
                         ThreadPool& pool) const override;
  void add_to(const MatrixShape& shape, const std::vector<std::vector<float>>& values,
              int64_t row_begin, int64_t row_count, float* out) const override;
  int64_t solver_calls(const Options& options) const override;
  int64_t scratch_bytes(const MatrixShape& shape, const Options& options,
                        int64_t of_solver) const override;

 protected:
  // What the codes of the two decode to, and what is then computed.
  struct Branch {
    Solution down;
    Solution up;
  };

  virtual int64_t inner(const MatrixShape& shape, const Options& options) const = 0;
  virtual Scheme down_scheme(const Options& options) const = 0;
  virtual Scheme up_scheme(const MatrixShape& shape, const Options& options) const = 0;
  //   error [rows, cols];  moment [cols, cols] or nullptr: all directions count the same
  virtual Branch fit(const MatrixShape& shape, const std::vector<float>& error,
                     const std::vector<double>* moment, const Options& options,
                     ThreadPool& pool) const = 0;
  // What fit() takes beside its arguments and the branch.
  virtual int64_t fit_bytes(const MatrixShape& shape, const Options& options) const = 0;

  // The nearest codes.
  static Solution coded(const std::vector<float>& weights, const MatrixShape& shape,
                        const Scheme& scheme, ThreadPool& pool);
  // The options that all have: `rounds`, `whitened`, `start`.
  static std::vector<OptionSpec> with_shared_options(std::vector<OptionSpec> own);
};

// Cholesky of a symmetric matrix [n, n] in place, the lower triangle. A direction without energy,
// which rounding may leave, gets a pivot that takes no part.
void factor_symmetric(std::vector<double>& a, size_t n);
// x with L Lᵀ x = b, in place.
void solve_factored(const std::vector<double>& l, std::vector<double>& b);

}  // namespace bitsmith
