// The residual of a dictionary: what it finds of matrices that are made of one, laws, threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "codecs/codec_testing.h"
#include "graph/operators.h"
#include "residuals/residual.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using testing::normal_weights;

constexpr MatrixShape kShape{160, 24};

// Rows that combine `nonzeros` of 16 random atoms.
std::vector<float> combined(int nonzeros) {
  const std::vector<float> atoms = normal_weights(16 * 24, 3);
  std::vector<float> weights(160 * 24, 0.0F);
  Random random(4);
  for (size_t r = 0; r < 160; ++r) {
    for (int i = 0; i < nonzeros; ++i) {
      const size_t atom = random.below(16);
      const auto factor = static_cast<float>(random.normal());
      for (size_t c = 0; c < 24; ++c) weights[r * 24 + c] += factor * atoms[atom * 24 + c];
    }
  }
  return weights;
}

// The second moment of channels of which every fifth is loud.
std::vector<double> moment() {
  std::vector<double> h(24 * 24, 0.0);
  for (size_t c = 0; c < 24; ++c) h[c * 24 + c] = c % 5 == 2 ? 20.0 : 0.5;
  return h;
}

// Codes of no bits: the branch is all there is.
const json kNothing = {{"density", 0.0}, {"gap_bits", 16}};

struct Result {
  ResidualSolution solution;
  double error = 0;  // Σ of row errors
};

Result solve(const std::string& id, const std::vector<float>& weights, const json& options,
             const Scheme& scheme = Scheme("pruned", kNothing), int threads = 2) {
  ThreadPool pool(threads);
  const Solver& nearest = Registry<Solver>::instance().get("nearest");
  const Options none(nearest.info().options, json::object(), "nearest");
  const Residual& residual = Registry<Residual>::instance().get(id);
  const InputStatistics statistics(24, moment());
  Result result{residual.solve({weights, kShape, &statistics, scheme}, nearest, none,
                               Options(residual.info().options, options, id), pool)};
  const std::vector<double>& errors = result.solution.codes.row_error;
  result.error = std::accumulate(errors.begin(), errors.end(), 0.0);
  return result;
}

double energy(const std::vector<float>& weights) {
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto w = static_cast<double>(weights[i]);
    sum += w * w * moment()[i % 24 * 25];
  }
  return sum;
}

// 160 · (2 · 16 + 16) + 16 · 24 · 16 bits here, what rank 4 takes in binary16 is nearly as many.
TEST(Dictionary, FindsSparseCombinations) {
  const std::vector<float> weights = combined(2);
  const double whole = energy(weights);
  const double dictionary = solve("dictionary", weights, {{"atoms", 16}, {"nonzeros", 2}}).error;
  EXPECT_LT(dictionary, 0.2 * whole);
  EXPECT_LT(dictionary, 0.6 * solve("low_rank", weights, {{"rank", 4}}).error);
}

TEST(Dictionary, ErrorFallsWithNonzerosAndTurns) {
  const std::vector<float> weights = normal_weights(160 * 24, 5);
  double before = energy(weights);
  for (const int nonzeros : {1, 2, 4, 8, 16}) {
    const double error =
        solve("dictionary", weights, {{"atoms", 32}, {"nonzeros", nonzeros}}).error;
    EXPECT_LT(error, before) << nonzeros;
    before = error;
  }
  EXPECT_LT(solve("dictionary", weights, {{"atoms", 32}, {"nonzeros", 4}, {"turns", 10}}).error,
            solve("dictionary", weights, {{"atoms", 32}, {"nonzeros", 4}, {"turns", 0}}).error);
}

// An atom for every row, in binary16.
TEST(Dictionary, AsManyAtomsAsRowsLoseNothing) {
  const std::vector<float> weights = normal_weights(160 * 24, 5);
  EXPECT_LT(solve("dictionary", weights, {{"atoms", 160}, {"nonzeros", 1}, {"turns", 0}}).error,
            1e-6 * energy(weights));
}

TEST(Dictionary, WhiteningPays) {
  const std::vector<float> weights = normal_weights(160 * 24, 5);
  const json options = {{"atoms", 32}, {"nonzeros", 4}};
  json plain = options;
  plain["whitened"] = false;
  EXPECT_LT(solve("dictionary", weights, options).error,
            0.9 * solve("dictionary", weights, plain).error);
}

TEST(Dictionary, NeverWorseThanTheCodesAlone) {
  const std::vector<float> weights = normal_weights(160 * 24, 5);
  const Scheme scheme("int", {{"bits", 3}, {"group", 0}});
  const double alone =
      solve("low_rank", std::vector<float>(weights), {{"rank", 1}}, Scheme("f16", json::object()))
          .error;
  EXPECT_LE(solve("dictionary", weights, {{"atoms", 8}}, Scheme("f16", json::object())).error,
            alone * 1.0001);
  ThreadPool pool(1);
  const InputStatistics statistics(24, moment());
  const Solver& nearest = Registry<Solver>::instance().get("nearest");
  const Options none(nearest.info().options, json::object(), "nearest");
  const Solution codes = nearest.solve({weights, kShape, &statistics, scheme}, none, pool);
  EXPECT_LT(solve("dictionary", weights, {{"atoms", 32}, {"nonzeros", 2}}, scheme).error,
            std::accumulate(codes.row_error.begin(), codes.row_error.end(), 0.0));
}

TEST(Dictionary, TheSameForAnyNumberOfThreads) {
  const std::vector<float> weights = normal_weights(160 * 24, 5);
  const json options = {{"atoms", 40}, {"nonzeros", 3}, {"turns", 5}};
  const Scheme scheme("int", {{"bits", 2}, {"group", 0}});
  const Result one = solve("dictionary", weights, options, scheme, 1);
  const Result three = solve("dictionary", weights, options, scheme, 3);
  EXPECT_EQ(one.solution.bytes, three.solution.bytes);
  EXPECT_EQ(one.solution.codes.bytes, three.solution.codes.bytes);
}

TEST(Dictionary, AddsASparseLayerBehindTheDictionary) {
  Graph graph;
  const ValueId x = graph.add_input("x", {kBatch, 6});
  const ValueId y = ops::linear(graph, "layer", x, graph.add_parameter("w", {40, 6}, "mlp.up"));
  graph.outputs = {y};
  const Residual& residual = Registry<Residual>::instance().get("dictionary");
  const auto parameters = residual.attach(
      graph, 0, Options(residual.info().options, {{"atoms", 32}, {"nonzeros", 4}}, "dictionary"));
  ASSERT_EQ(parameters.size(), 2u);
  EXPECT_EQ(graph.value(parameters[0].id).shape, (Shape{32, 6}));
  EXPECT_EQ(graph.value(parameters[1].id).shape, (Shape{40, 32}));
  // A mask of 32 bits and 4 binary16 in each row, with their padding.
  const Scheme& up = parameters[1].scheme;
  EXPECT_EQ(up.codec->encoded_bytes({4096, 32}, up.options), 4096u * (4 + 4 * 2));
}

}  // namespace
}  // namespace bitsmith
