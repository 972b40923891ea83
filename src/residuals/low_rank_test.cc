// The low-rank residual: its error against a full decomposition, laws, threads, and its nodes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codecs/codec_testing.h"
#include "core/error.h"
#include "core/testing.h"
#include "graph/operators.h"
#include "residuals/leading_directions.h"
#include "residuals/residual.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using testing::normal_weights;

constexpr MatrixShape kWide{24, 40};
constexpr MatrixShape kTall{50, 20};

// Of inputs with some loud channels and one that is never used: singular.
std::vector<double> moment_of(int64_t cols) {
  Random random(3, "moment");
  const auto n = static_cast<size_t>(cols);
  std::vector<double> h(n * n, 0.0);
  std::vector<double> x(n);
  for (int64_t sample = 0; sample < 3 * cols; ++sample) {
    for (size_t c = 0; c < n; ++c) {
      x[c] = random.normal() * (c % 7 == 3 ? 5 : 1) + (c > 0 ? 0.5 * x[c - 1] : 0);
    }
    x[5] = 0;
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) h[i * n + j] += x[i] * x[j] / static_cast<double>(3 * cols);
    }
  }
  return h;
}

// Eigenvalues of E H Eᵀ, descending, by plain power iteration and deflation in float64.
std::vector<double> slow_energies(const std::vector<float>& e, const MatrixShape& shape,
                                  const std::vector<double>& h) {
  const auto rows = static_cast<size_t>(shape.rows);
  const auto cols = static_cast<size_t>(shape.cols);
  std::vector<double> m(rows * rows, 0.0);
  for (size_t i = 0; i < rows; ++i) {
    std::vector<double> eh(cols, 0.0);
    for (size_t a = 0; a < cols; ++a) {
      for (size_t b = 0; b < cols; ++b) {
        eh[b] += static_cast<double>(e[i * cols + a]) * h[a * cols + b];
      }
    }
    for (size_t j = 0; j < rows; ++j) {
      for (size_t b = 0; b < cols; ++b) {
        m[i * rows + j] += eh[b] * static_cast<double>(e[j * cols + b]);
      }
    }
  }
  std::vector<double> energies;
  for (size_t k = 0; k < rows; ++k) {
    std::vector<double> x(rows);
    for (size_t i = 0; i < rows; ++i) x[i] = std::cos(static_cast<double>(i * (k + 1)));
    double energy = 0;
    for (int round = 0; round < 20000; ++round) {
      std::vector<double> y(rows, 0.0);
      for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < rows; ++j) y[i] += m[i * rows + j] * x[j];
      }
      double norm = 0;
      for (const double v : y) norm += v * v;
      norm = std::sqrt(norm);
      const bool settled = std::abs(norm - energy) <= 1e-14 * norm;
      energy = norm;
      if (!(norm > 0)) break;
      for (size_t i = 0; i < rows; ++i) x[i] = y[i] / norm;
      if (settled && round > 200) break;
    }
    energies.push_back(energy);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < rows; ++j) m[i * rows + j] -= energy * x[i] * x[j];
    }
  }
  return energies;
}

Options options_of(const json& values) {
  const Residual& residual = Registry<Residual>::instance().get("low_rank");
  return Options(residual.info().options, values, "low_rank");
}

// A layer with what its residual is made from.
struct Layer {
  explicit Layer(const MatrixShape& matrix, int bits = 3)
      : shape(matrix),
        weights(normal_weights(static_cast<size_t>(matrix.rows * matrix.cols), 5)),
        statistics(matrix.cols, moment_of(matrix.cols)),
        scheme("int", {{"bits", bits}, {"group", 0}}) {}

  ResidualSolution solve(const json& options, const std::string& solver = "nearest",
                         int threads = 2) const {
    ThreadPool pool(threads);
    const Solver& by = Registry<Solver>::instance().get(solver);
    const Options none(by.info().options, json::object(), solver);
    return Registry<Residual>::instance()
        .get("low_rank")
        .solve({weights, shape, &statistics, scheme}, by, none, options_of(options), pool);
  }

  // Sum of the squared error of the outputs, in float64, of codes and branch.
  double error(const ResidualSolution& solution) const {
    std::vector<float> values = solution.codes.values;
    Registry<Residual>::instance()
        .get("low_rank")
        .add_to(shape, solution.values, 0, shape.rows, values.data());
    const auto n = static_cast<size_t>(shape.cols);
    double sum = 0;
    for (size_t r = 0; r < static_cast<size_t>(shape.rows); ++r) {
      for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < n; ++j) {
          const auto e = [&](size_t c) {
            return static_cast<double>(weights[r * n + c]) - static_cast<double>(values[r * n + c]);
          };
          sum += e(i) * statistics.second_moment()[i * n + j] * e(j);
        }
      }
    }
    return sum;
  }

  MatrixShape shape;
  std::vector<float> weights;
  InputStatistics statistics;
  Scheme scheme;
};

double total(const ResidualSolution& solution) {
  const std::vector<double>& errors = solution.codes.row_error;
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

TEST(LeadingDirections, AreThoseOfAFullDecomposition) {
  for (const MatrixShape& shape : {kWide, kTall}) {
    const Layer layer(shape);
    const std::vector<double> expected =
        slow_energies(layer.weights, shape, layer.statistics.second_moment());
    ThreadPool pool(2);
    for (const int64_t count : {1, 5, 1000}) {
      const LeadingDirections found =
          leading_directions(layer.weights, shape, &layer.statistics.second_moment(), count, pool);
      // One channel is never used.
      ASSERT_EQ(found.count, std::min({count, shape.rows, shape.cols - 1}));
      double all = 0;
      double difference = 0;
      for (size_t i = 0; i < static_cast<size_t>(found.count); ++i) {
        all += expected[i];
        difference += expected[i] - found.energies[i];
      }
      EXPECT_NEAR(difference / all, 0, 1e-4) << count;
      const auto rows = static_cast<size_t>(shape.rows);
      for (size_t i = 0; i < static_cast<size_t>(found.count); ++i) {
        for (size_t j = 0; j <= i; ++j) {
          const double product = std::inner_product(
              found.vectors.begin() + static_cast<std::ptrdiff_t>(i * rows),
              found.vectors.begin() + static_cast<std::ptrdiff_t>((i + 1) * rows),
              found.vectors.begin() + static_cast<std::ptrdiff_t>(j * rows), 0.0);
          EXPECT_NEAR(product, i == j, 1e-10);
        }
      }
    }
  }
}

// What is left is the sum of the discarded squared singular values in the norm of the input.
TEST(LowRank, ErrorFallsWithRankAsTheorySays) {
  for (const MatrixShape& shape : {kWide, kTall}) {
    const Layer layer(shape);
    ThreadPool pool(2);
    const Solver& nearest = Registry<Solver>::instance().get("nearest");
    const Options none(nearest.info().options, json::object(), "nearest");
    const Solution codes =
        nearest.solve({layer.weights, shape, &layer.statistics, layer.scheme}, none, pool);
    std::vector<float> lost = layer.weights;
    for (size_t i = 0; i < lost.size(); ++i) lost[i] -= codes.values[i];
    const std::vector<double> energies =
        slow_energies(lost, shape, layer.statistics.second_moment());
    double all = std::accumulate(energies.begin(), energies.end(), 0.0);
    const double whole = all;
    for (const int64_t rank : {1, 2, 4, 8, 16}) {
      const ResidualSolution solution = layer.solve({{"rank", rank}});
      const double left = std::accumulate(energies.begin() + static_cast<std::ptrdiff_t>(rank),
                                          energies.end(), 0.0);
      // The factors are binary16: 2^-11 of what they hold, in the worst case.
      EXPECT_NEAR(layer.error(solution), left, 2e-3 * whole) << rank;
      EXPECT_NEAR(total(solution), layer.error(solution), 1e-4 * whole);
      EXPECT_EQ(solution.codes.values, codes.values);
      EXPECT_LT(layer.error(solution), all);
      all = layer.error(solution);
    }
  }
}

// The norm of the input matters: without it the error of the outputs is larger.
TEST(LowRank, WhiteningPays) {
  const Layer layer(kWide);
  EXPECT_LT(total(layer.solve({{"rank", 4}})),
            0.9 * total(layer.solve({{"rank", 4}, {"whitened", false}})));
}

TEST(LowRank, MoreRoundsNeverRaiseTheError) {
  for (const MatrixShape& shape : {kWide, kTall}) {
    for (const char* solver : {"nearest", "gptq"}) {
      for (const char* start : {"codes", "weights"}) {
        for (const char* factors : {"f16", "bf16", "int8"}) {
          const Layer layer(shape);
          double before = 0;
          double first = 0;
          for (const int rounds : {0, 1, 2, 5, 10}) {
            const double error = total(layer.solve(
                {{"rank", 4}, {"rounds", rounds}, {"start", start}, {"factors", factors}}, solver));
            if (rounds == 0) first = error;
            if (rounds > 0) {
              EXPECT_LE(error, before) << solver << start << factors << rounds;
            }
            before = error;
          }
          // What was found for no codes has to change when there are some.
          if (std::string(start) == "weights") {
            EXPECT_LT(before, first) << solver << factors;
          }
        }
      }
    }
  }
}

TEST(LowRank, FactorsInEightBitsAreNearlyAsGood) {
  const Layer layer(kWide);
  const double exact = total(layer.solve({{"rank", 8}}));
  EXPECT_LT(total(layer.solve({{"rank", 8}, {"factors", "int8"}})), 1.05 * exact);
}

TEST(LowRank, TheSameForAnyNumberOfThreads) {
  const Layer layer({200, 300});
  const json options = {{"rank", 6}, {"rounds", 1}, {"factors", "int8"}};
  const ResidualSolution one = layer.solve(options, "gptq", 1);
  const ResidualSolution three = layer.solve(options, "gptq", 3);
  EXPECT_EQ(one.bytes, three.bytes);
  EXPECT_EQ(one.codes.bytes, three.codes.bytes);
  EXPECT_EQ(one.codes.row_error, three.codes.row_error);
}

// Nothing is lost, nothing is added; no statistics: all directions count the same.
TEST(LowRank, TakesLayersWithoutErrorAndWithoutStatistics) {
  ThreadPool pool(1);
  const Solver& nearest = Registry<Solver>::instance().get("nearest");
  const Options none(nearest.info().options, json::object(), "nearest");
  const Residual& residual = Registry<Residual>::instance().get("low_rank");
  const std::vector<float> zeros(24, 0.0F);
  const ResidualSolution nothing =
      residual.solve({zeros, {4, 6}, nullptr, Scheme("f16", json::object())}, nearest, none,
                     options_of({{"rank", 2}, {"rounds", 2}}), pool);
  for (const auto& values : nothing.values) EXPECT_THAT(values, ::testing::Each(0.0F));
  const std::vector<float> weights = normal_weights(24, 2);
  const ResidualSolution plain =
      residual.solve({weights, {4, 6}, nullptr, Scheme("int", {{"bits", 2}, {"group", 0}})},
                     nearest, none, options_of({{"rank", 4}}), pool);
  EXPECT_LT(total(plain), 1e-5);  // of full rank, in binary16
}

TEST(LowRank, AddsABranchBesideALayer) {
  Graph graph;
  const ValueId x = graph.add_input("x", {kBatch, 6});
  const ValueId weight = graph.add_parameter("w", {4, 6}, "mlp.up");
  const ValueId other = graph.add_parameter("v", {3, 4}, "mlp.down");
  const ValueId y = ops::linear(graph, "layer", x, weight);
  const ValueId z = ops::linear(graph, "next", y, other);
  graph.outputs = {z, y};
  const Residual& residual = Registry<Residual>::instance().get("low_rank");
  const auto parameters = residual.attach(graph, 0, options_of({{"rank", 5}, {"factors", "int8"}}));
  ASSERT_EQ(parameters.size(), 2u);
  EXPECT_EQ(graph.value(parameters[0].id).shape, (Shape{4, 6}));  // at most the layer's rank
  EXPECT_EQ(graph.value(parameters[1].id).shape, (Shape{4, 4}));
  EXPECT_EQ(graph.value(parameters[0].id).role, "mlp.up.low_rank");
  EXPECT_EQ(parameters[0].scheme.codec->info().id, "int");
  std::vector<std::string> nodes;
  for (const Node& node : graph.nodes) nodes.push_back(node.op);
  EXPECT_THAT(nodes, ::testing::ElementsAre("linear", "linear", "linear", "add", "linear"));
  const ValueId sum = graph.nodes[3].outputs[0];
  EXPECT_EQ(graph.nodes[4].inputs[0], sum);
  EXPECT_EQ(graph.outputs[1], sum);
  EXPECT_EQ(Graph::from_json(graph.to_json()).to_json(), graph.to_json());
}

}  // namespace
}  // namespace bitsmith
