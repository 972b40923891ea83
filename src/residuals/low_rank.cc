// Residual `low_rank`: a product of two thin matrices beside the codes, found by a truncated SVD of
// what the codes lose, whitened by the second moment of the layer's input.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "calibration/blas.h"
#include "core/error.h"
#include "graph/operators.h"
#include "residuals/leading_directions.h"
#include "residuals/residual.h"
#include "solvers/direct.h"

namespace bitsmith {
namespace {

// The branch B A [rows, cols]: down A [rank, cols] multiplies the layer's input, up B [rows, rank]
// what that gives. What the codes decode to, and what is then computed.
struct Branch {
  Solution down;
  Solution up;
};

class LowRank final : public Residual {
 public:
  const PartInfo& info() const override { return info_; }

  void check(const Options& options, bool knows_inputs) const override {
    if (!options.flag("whitened") || knows_inputs) return;
    fail(ErrorCode::kInvalidArgument,
         "residual 'low_rank': whitened = true weighs errors by what layers read, which a recipe "
         "without [calibrate] does not measure: add one, name an --imatrix, or say "
         "residual.whitened=false");
  }

  std::vector<ResidualParameter> attach(Graph& graph, size_t node,
                                        const Options& options) const override {
    const Node layer = graph.nodes[node];
    const Value weight = graph.value(layer.inputs[1]);
    const MatrixShape shape = matrix_shape(weight.shape);
    const int64_t rank = rank_of(shape, options);
    const size_t before = graph.nodes.size();
    const auto fresh = [&](std::string name) {
      if (graph.find(name) == kNoValue) return name;
      fail(ErrorCode::kUnsupported,
           "residual 'low_rank': the layer of '{}' has a branch already ('{}'): compress the model "
           "that it was made from",
           weight.name, name);
    };
    const auto parameter = [&](const char* name, Shape extents) {
      return graph.add_parameter(fresh(fmt::format("{}.low_rank_{}", weight.name, name)),
                                 std::move(extents), weight.role + ".low_rank");
    };
    const auto node_name = [&](const char* name) {
      return fresh(fmt::format("{}.low_rank.{}", layer.name, name));
    };
    const ValueId down = parameter("down", {rank, shape.cols});
    const ValueId up = parameter("up", {shape.rows, rank});
    const ValueId output = layer.outputs[0];
    const ValueId inner = ops::linear(graph, node_name("down"), layer.inputs[0], down);
    const ValueId back = ops::linear(graph, node_name("up"), inner, up);
    const ValueId sum = ops::add(graph, node_name("add"), output, back);
    for (size_t n = 0; n + 1 < graph.nodes.size(); ++n) {
      std::ranges::replace(graph.nodes[n].inputs, output, sum);
    }
    std::ranges::replace(graph.outputs, output, sum);
    const auto first = graph.nodes.begin();
    std::rotate(first + static_cast<std::ptrdiff_t>(node + 1),
                first + static_cast<std::ptrdiff_t>(before), graph.nodes.end());
    return {{down, scheme_of(options)}, {up, scheme_of(options)}};
  }

  // The branch is the best of its rank for given codes (or, to start with, for no codes), the codes
  // are the solver's for what the branch leaves; the best pair of all rounds is kept, since neither
  // step need improve on it: a solver chooses codes for its own reasons, and factors are rounded.
  ResidualSolution solve(const Problem& problem, const Solver& solver,
                         const Options& solver_options, const Options& options,
                         ThreadPool& pool) const override {
    check_problem(problem, info_.id);
    const bool weights_first = options.text("start") == "weights";
    const int64_t rounds = options.integer("rounds");
    const int64_t rank = rank_of(problem.shape, options);
    std::vector<float> rest(problem.weights.begin(), problem.weights.end());
    Branch branch = fit(problem, rest, weights_first ? rank : 0, options, pool);
    ResidualSolution best;
    double least = 0;
    const auto consider = [&](const Solution& codes) {
      std::vector<float> values = codes.values;
      add_to_all(problem.shape, {branch.down.values, branch.up.values}, values.data(), pool);
      std::vector<double> errors = row_errors(problem, values, pool);
      const double error = std::accumulate(errors.begin(), errors.end(), 0.0);
      if (!best.bytes.empty() && !(error < least)) return;
      least = error;
      best = {codes, {branch.down.bytes, branch.up.bytes}, {branch.down.values, branch.up.values}};
      best.codes.row_error = std::move(errors);
    };
    for (int64_t round = 0;; ++round) {
      rest.assign(problem.weights.begin(), problem.weights.end());
      subtract(problem.shape, branch, rest, pool);
      const Solution codes = solver.solve({rest, problem.shape, problem.statistics, problem.scheme},
                                          solver_options, pool);
      consider(codes);
      if (weights_first && round == rounds) break;
      for (size_t i = 0; i < rest.size(); ++i) rest[i] = problem.weights[i] - codes.values[i];
      branch = fit(problem, rest, rank, options, pool);
      consider(codes);
      if (round == rounds) break;
    }
    return best;
  }

  void add_to(const MatrixShape& shape, const std::vector<std::vector<float>>& values,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const auto cols = static_cast<size_t>(shape.cols);
    const size_t rank = values[0].size() / std::max<size_t>(1, cols);
    for (int64_t r = 0; r < row_count; ++r) {
      const float* up = values[1].data() + static_cast<size_t>(row_begin + r) * rank;
      float* const row = out + static_cast<size_t>(r) * cols;
      for (size_t i = 0; i < rank; ++i) {
        const float* down = values[0].data() + i * cols;
        for (size_t c = 0; c < cols; ++c) row[c] += up[i] * down[c];
      }
    }
  }

  int64_t solver_calls(const Options& options) const override {
    return options.integer("rounds") + 1;
  }

  // The rest of the weights, the best codes, and of two branches values, bytes and a copy, beside
  // either the solver, or what finds directions, or a sum with its copy in row_errors().
  int64_t scratch_bytes(const MatrixShape& shape, const Options& options,
                        int64_t of_solver) const override {
    constexpr int64_t kKept = 9;
    constexpr int64_t kSum = 8;
    constexpr int64_t kOfFactor = 20;
    const int64_t weights = shape.rows * shape.cols;
    const int64_t rank = rank_of(shape, options);
    return kKept * weights + kOfFactor * rank * (shape.rows + shape.cols) +
           std::max(std::max(of_solver, kSum) * weights, leading_directions_bytes(shape, rank));
  }

 private:
  static int64_t rank_of(const MatrixShape& shape, const Options& options) {
    return std::min({options.integer("rank"), shape.rows, shape.cols});
  }

  static Scheme scheme_of(const Options& options) {
    const std::string& code = options.text("factors");
    if (code != "int8") return Scheme(code, nlohmann::json::object());
    return Scheme("int", {{"bits", 8}, {"group", 64}, {"symmetric", true}});
  }

  void subtract(const MatrixShape& shape, const Branch& branch, std::vector<float>& weights,
                ThreadPool& pool) const {
    std::vector<float> negative = branch.up.values;
    for (float& v : negative) v = -v;
    add_to_all(shape, {branch.down.values, negative}, weights.data(), pool);
  }

  static Solution coded(const std::vector<float>& weights, const MatrixShape& shape,
                        const Options& options, ThreadPool& pool) {
    const Solver& nearest = Registry<Solver>::instance().get("nearest");
    const Options none(nearest.info().options, nlohmann::json::object(), "nearest");
    return nearest.solve({weights, shape, nullptr, scheme_of(options)}, none, pool);
  }

  // The branch of the options' rank whose first `rank` directions are those of `error` [rows, cols]
  // and whose others are 0.  A = Uᵀ E is rounded to its codes first; B is then the least-squares
  // fit to the rounded A,  B = E H Aᵀ (A H Aᵀ)⁻¹, which is U if nothing was rounded.
  Branch fit(const Problem& problem, const std::vector<float>& error, int64_t rank,
             const Options& options, ThreadPool& pool) const {
    const auto [rows, cols] = problem.shape;
    const int64_t full = rank_of(problem.shape, options);
    const std::vector<double>* moment = options.flag("whitened") && problem.statistics != nullptr
                                            ? &problem.statistics->second_moment()
                                            : nullptr;
    const LeadingDirections found = leading_directions(error, problem.shape, moment, rank, pool);
    std::vector<float> down(static_cast<size_t>(full * cols));
    run_blas_tiles(pool, cols, [&, cols = cols, rows = rows](int64_t begin, int64_t count) {
      for (int64_t i = 0; i < found.count; ++i) {
        std::vector<double> sums(static_cast<size_t>(count), 0.0);
        const double* u = found.vectors.data() + i * rows;
        for (int64_t r = 0; r < rows; ++r) {
          const float* e = error.data() + r * cols + begin;
          for (size_t c = 0; c < sums.size(); ++c) sums[c] += u[r] * static_cast<double>(e[c]);
        }
        std::ranges::transform(sums, down.begin() + i * cols + begin,
                               [](double s) { return static_cast<float>(s); });
      }
    });
    Branch branch;
    branch.down = coded(down, {full, cols}, options, pool);
    const std::vector<float> up =
        least_squares(problem.shape, error, moment, branch.down.values, found.count, full, pool);
    branch.up = coded(up, {rows, full}, options, pool);
    return branch;
  }

  // B [rows, full] for the first `rank` rows of A [full, cols].
  static std::vector<float> least_squares(const MatrixShape& shape, const std::vector<float>& error,
                                          const std::vector<double>* moment,
                                          const std::vector<float>& down, int64_t rank,
                                          int64_t full, ThreadPool& pool) {
    const auto [rows, cols] = shape;
    std::vector<float> up(static_cast<size_t>(rows * full), 0.0F);
    if (rank == 0) return up;
    const std::vector<double> a(down.begin(), down.begin() + rank * cols);
    std::vector<double> ah = a;  // A H [rank, cols]
    if (moment != nullptr) {
      run_blas_tiles(pool, cols, [&, cols = cols](int64_t begin, int64_t count) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(rank),
                    static_cast<int>(count), static_cast<int>(cols), 1.0, a.data(),
                    static_cast<int>(cols), moment->data() + begin, static_cast<int>(cols), 0.0,
                    ah.data() + begin, static_cast<int>(cols));
      });
    }
    std::vector<double> normal(static_cast<size_t>(rank * rank));
    run_blas_tasks(pool, 1, [&, cols = cols](int64_t, int) {
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(rank),
                  static_cast<int>(rank), static_cast<int>(cols), 1.0, ah.data(),
                  static_cast<int>(cols), a.data(), static_cast<int>(cols), 0.0, normal.data(),
                  static_cast<int>(rank));
    });
    factor(normal, static_cast<size_t>(rank));
    pool.run(rows, [&, cols = cols](int64_t r, int) {
      const float* e = error.data() + r * cols;
      std::vector<double> b(static_cast<size_t>(rank), 0.0);
      for (int64_t i = 0; i < rank; ++i) {
        const double* h = ah.data() + i * cols;
        for (int64_t c = 0; c < cols; ++c) {
          b[static_cast<size_t>(i)] += h[c] * static_cast<double>(e[c]);
        }
      }
      solve_factored(normal, b);
      std::ranges::transform(b, up.begin() + r * full,
                             [](double v) { return static_cast<float>(v); });
    });
    return up;
  }

  // Cholesky of a symmetric matrix [n, n] in place, the lower triangle. A direction without energy,
  // which rounding A may leave, gets a pivot that takes no part.
  static void factor(std::vector<double>& a, size_t n) {
    constexpr double kNothing = 1e-12;
    double largest = 0;
    for (size_t i = 0; i < n; ++i) largest = std::max(largest, a[i * n + i]);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        double sum = a[i * n + j];
        for (size_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
        if (j < i) {
          a[i * n + j] = sum / a[j * n + j];
        } else {
          a[i * n + i] =
              sum > kNothing * largest ? std::sqrt(sum) : std::numeric_limits<double>::infinity();
        }
      }
    }
  }

  // x with L Lᵀ x = b, in place.
  static void solve_factored(const std::vector<double>& l, std::vector<double>& b) {
    const size_t n = b.size();
    for (size_t i = 0; i < n; ++i) {
      for (size_t k = 0; k < i; ++k) b[i] -= l[i * n + k] * b[k];
      b[i] /= l[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
      for (size_t k = i + 1; k < n; ++k) b[i] -= l[k * n + i] * b[k];
      b[i] /= l[i * n + i];
    }
  }

  PartInfo info_{
      .id = "low_rank",
      .summary =
          "two thin layers beside each linear layer, a truncated SVD of what its codes lose, "
          "whitened by the second moment of its input",
      .source =
          "Yao et al. 2023 (LoRC), arXiv:2303.08302; Guo et al. 2023 (LQ-LoRA), "
          "arXiv:2311.12023; Zhang et al. 2024 (LQER), arXiv:2402.02446, section 3 (whitening, "
          "by magnitudes there)",
      .options = {
          {"rank", int64_t{16}, "of the product, at most the layer's", 1, 4096},
          {"rounds", int64_t{0}, "more of codes and branch in turn; the best are kept", 0, 1000},
          {"whitened", true,
           "errors count as the layer's input is, by calibration or an importance matrix; false: "
           "all the same"},
          {"start",
           std::string("codes"),
           "what is found first: the codes of the weights, "
           "or a branch that takes the largest part of them",
           -1e300,
           1e300,
           {"codes", "weights"}},
          {"factors",
           std::string("f16"),
           "codes of the two: int8 is in groups of 64",
           -1e300,
           1e300,
           {"f16", "bf16", "int8"}}}};
};

const Registration<Residual, LowRank> kRegistration;

}  // namespace
}  // namespace bitsmith
