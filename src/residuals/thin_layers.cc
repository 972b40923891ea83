#include "residuals/thin_layers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "graph/operators.h"
#include "solvers/direct.h"

namespace bitsmith {

void ThinLayers::check(const Options& options, bool knows_inputs) const {
  if (!options.flag("whitened") || knows_inputs) return;
  fail(ErrorCode::kInvalidArgument,
       "residual '{}': whitened = true weighs errors by what layers read, which a recipe "
       "without [calibrate] does not measure: add one, name an --imatrix, or say "
       "residual.whitened=false",
       info().id);
}

std::vector<ResidualParameter> ThinLayers::attach(Graph& graph, size_t node,
                                                  const Options& options) const {
  const Node layer = graph.nodes[node];
  const Value weight = graph.value(layer.inputs[1]);
  const MatrixShape shape = matrix_shape(weight.shape);
  const int64_t width = inner(shape, options);
  const std::string& id = info().id;
  const size_t before = graph.nodes.size();
  const auto fresh = [&](std::string name) {
    if (graph.find(name) == kNoValue) return name;
    fail(ErrorCode::kUnsupported,
         "residual '{}': the layer of '{}' has a branch already ('{}'): compress the model "
         "that it was made from",
         id, weight.name, name);
  };
  const auto parameter = [&](const char* name, Shape extents) {
    return graph.add_parameter(fresh(fmt::format("{}.{}_{}", weight.name, id, name)),
                               std::move(extents), weight.role + "." + id);
  };
  const auto node_name = [&](const char* name) {
    return fresh(fmt::format("{}.{}.{}", layer.name, id, name));
  };
  const ValueId down = parameter("down", {width, shape.cols});
  const ValueId up = parameter("up", {shape.rows, width});
  const ValueId output = layer.outputs[0];
  const ValueId middle = ops::linear(graph, node_name("down"), layer.inputs[0], down);
  const ValueId back = ops::linear(graph, node_name("up"), middle, up);
  const ValueId sum = ops::add(graph, node_name("add"), output, back);
  for (size_t n = 0; n + 1 < graph.nodes.size(); ++n) {
    std::ranges::replace(graph.nodes[n].inputs, output, sum);
  }
  std::ranges::replace(graph.outputs, output, sum);
  const auto first = graph.nodes.begin();
  std::rotate(first + static_cast<std::ptrdiff_t>(node + 1),
              first + static_cast<std::ptrdiff_t>(before), graph.nodes.end());
  return {{down, down_scheme(options)}, {up, up_scheme(shape, options)}};
}

ResidualSolution ThinLayers::solve(const Problem& problem, const Solver& solver,
                                   const Options& solver_options, const Options& options,
                                   ThreadPool& pool) const {
  check_problem(problem, info().id);
  const bool weights_first = options.text("start") == "weights";
  const int64_t width = inner(problem.shape, options);
  const int64_t rounds = options.integer("rounds");
  const std::vector<double>* moment = options.flag("whitened") && problem.statistics != nullptr
                                          ? &problem.statistics->second_moment()
                                          : nullptr;
  std::vector<float> rest(problem.weights.begin(), problem.weights.end());
  Branch branch =
      weights_first
          ? fit(problem.shape, rest, moment, options, pool)
          : Branch{coded(std::vector<float>(static_cast<size_t>(width * problem.shape.cols)),
                         {width, problem.shape.cols}, down_scheme(options), pool),
                   coded(std::vector<float>(static_cast<size_t>(problem.shape.rows * width)),
                         {problem.shape.rows, width}, up_scheme(problem.shape, options), pool)};
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
    std::vector<float> negative = branch.up.values;
    for (float& v : negative) v = -v;
    add_to_all(problem.shape, {branch.down.values, negative}, rest.data(), pool);
    const Solution codes = solver.solve({rest, problem.shape, problem.statistics, problem.scheme},
                                        solver_options, pool);
    consider(codes);
    if (weights_first && round == rounds) break;
    for (size_t i = 0; i < rest.size(); ++i) rest[i] = problem.weights[i] - codes.values[i];
    branch = fit(problem.shape, rest, moment, options, pool);
    consider(codes);
    if (round == rounds) break;
  }
  return best;
}

void ThinLayers::add_to(const MatrixShape& shape, const std::vector<std::vector<float>>& values,
                        int64_t row_begin, int64_t row_count, float* out) const {
  const auto cols = static_cast<size_t>(shape.cols);
  const size_t width = values[0].size() / std::max<size_t>(1, cols);
  for (int64_t r = 0; r < row_count; ++r) {
    const float* up = values[1].data() + static_cast<size_t>(row_begin + r) * width;
    float* const row = out + static_cast<size_t>(r) * cols;
    for (size_t i = 0; i < width; ++i) {
      const float* down = values[0].data() + i * cols;
      for (size_t c = 0; c < cols; ++c) row[c] += up[i] * down[c];
    }
  }
}

int64_t ThinLayers::solver_calls(const Options& options) const {
  return options.integer("rounds") + 1;
}

// The rest of the weights, the best codes, and of two branches values, bytes and a copy, beside
// either the solver, or what finds a branch, or a sum with its copy in row_errors().
int64_t ThinLayers::scratch_bytes(const MatrixShape& shape, const Options& options,
                                  int64_t of_solver) const {
  constexpr int64_t kKept = 9;
  constexpr int64_t kSum = 8;
  constexpr int64_t kOfFactor = 20;
  const int64_t weights = shape.rows * shape.cols;
  return kKept * weights + kOfFactor * inner(shape, options) * (shape.rows + shape.cols) +
         std::max(std::max(of_solver, kSum) * weights, fit_bytes(shape, options));
}

Solution ThinLayers::coded(const std::vector<float>& weights, const MatrixShape& shape,
                           const Scheme& scheme, ThreadPool& pool) {
  const Solver& nearest = Registry<Solver>::instance().get("nearest");
  const Options none(nearest.info().options, nlohmann::json::object(), "nearest");
  return nearest.solve({weights, shape, nullptr, scheme}, none, pool);
}

std::vector<OptionSpec> ThinLayers::with_shared_options(std::vector<OptionSpec> own) {
  own.insert(
      own.end(),
      {{"rounds", int64_t{0}, "more of codes and branch in turn; the best are kept", 0, 1000},
       {"whitened", true,
        "errors count as the layer's input is, by calibration or an importance matrix; "
        "false: all the same"},
       {"start",
        std::string("codes"),
        "what is found first: the codes of the weights, "
        "or a branch that takes the largest part of them",
        -1e300,
        1e300,
        {"codes", "weights"}}});
  return own;
}

void factor_symmetric(std::vector<double>& a, size_t n) {
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

void solve_factored(const std::vector<double>& l, std::vector<double>& b) {
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

}  // namespace bitsmith
