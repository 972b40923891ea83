// Solvers: slow twins, laws that every solver keeps, the same codes for any threads and rows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "codecs/codec_testing.h"
#include "core/error.h"
#include "solvers/direct.h"
#include "solvers/solver.h"

namespace bitsmith {
namespace {

using ::testing::HasSubstr;
using testing::normal_weights;

Solution solve(const std::string& id, const Problem& problem, ThreadPool& pool,
               const nlohmann::json& options = nlohmann::json::object()) {
  const Solver& solver = Registry<Solver>::instance().get(id);
  return solver.solve(problem, Options(solver.info().options, options, id), pool);
}

double total_error(const Solution& solution) {
  return std::accumulate(solution.row_error.begin(), solution.row_error.end(), 0.0);
}

Scheme int_scheme(int bits, int64_t group, bool symmetric = false) {
  return Scheme("int", {{"bits", bits}, {"group", group}, {"symmetric", symmetric}});
}

// The second moment of correlated inputs: `factors` shared directions, noise, some loud features
// and some that are never used.
std::vector<double> correlated_moment(int64_t cols, int factors, uint64_t seed) {
  Random random(seed);
  std::vector<double> mix(static_cast<size_t>(factors * cols));
  for (double& m : mix) m = random.normal();
  std::vector<double> h(static_cast<size_t>(cols * cols));
  const auto loudness = [](int64_t c) { return c % 17 == 3 ? 6.0 : c % 29 == 11 ? 0.0 : 1.0; };
  for (int64_t i = 0; i < cols; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      double sum = i == j ? 0.3 : 0.0;
      for (int64_t f = 0; f < factors; ++f) {
        sum += mix[static_cast<size_t>(f * cols + i)] * mix[static_cast<size_t>(f * cols + j)] /
               static_cast<double>(factors);
      }
      h[static_cast<size_t>(i * cols + j)] = sum * loudness(i) * loudness(j);
    }
  }
  return h;
}

// (w - q) H (w - q)ᵀ per row in float64.
std::vector<double> slow_row_errors(const Problem& problem, const std::vector<float>& values) {
  const auto [rows, cols] = problem.shape;
  std::vector<double> errors(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> e(static_cast<size_t>(cols));
    for (int64_t c = 0; c < cols; ++c) {
      const auto at = static_cast<size_t>(r * cols + c);
      e[static_cast<size_t>(c)] =
          static_cast<double>(problem.weights[at]) - static_cast<double>(values[at]);
    }
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        const double h =
            problem.statistics == nullptr
                ? static_cast<double>(i == j)
                : problem.statistics->second_moment()[static_cast<size_t>(i * cols + j)];
        errors[static_cast<size_t>(r)] += e[static_cast<size_t>(i)] * h * e[static_cast<size_t>(j)];
      }
    }
  }
  return errors;
}

// GPTQ as published: explicit inverse of the damped H, rows quantized column by column, the
// remaining weights updated with a row of the inverse, the inverse shrunk by one elimination step
// (optimal brain surgeon). O(cols³), float64. Groups are fitted from the updated weights.
std::vector<float> slow_gptq(const Problem& problem, double damping) {
  const auto [rows, cols] = problem.shape;
  const auto n = static_cast<size_t>(cols);
  std::vector<double> h = problem.statistics->second_moment();
  double mean = 0;
  for (size_t i = 0; i < n; ++i) mean += h[i * n + i] / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) {
    if (h[i * n + i] == 0) h[i * n + i] = mean;
    h[i * n + i] += damping * mean;
  }
  // Gauss-Jordan.
  std::vector<double> inverse(n * n);
  for (size_t i = 0; i < n; ++i) inverse[i * n + i] = 1;
  for (size_t k = 0; k < n; ++k) {
    const double pivot = h[k * n + k];
    for (size_t j = 0; j < n; ++j) {
      h[k * n + j] /= pivot;
      inverse[k * n + j] /= pivot;
    }
    for (size_t i = 0; i < n; ++i) {
      if (i == k) continue;
      const double factor = h[i * n + k];
      for (size_t j = 0; j < n; ++j) {
        h[i * n + j] -= factor * h[k * n + j];
        inverse[i * n + j] -= factor * inverse[k * n + j];
      }
    }
  }
  const auto encoder = problem.scheme.codec->encoder(problem.shape, problem.scheme.options);
  const auto m = static_cast<size_t>(rows);
  std::vector<double> w(m * n);  // column-major
  for (size_t r = 0; r < m; ++r) {
    for (size_t c = 0; c < n; ++c) w[c * m + r] = static_cast<double>(problem.weights[r * n + c]);
  }
  std::vector<float> values(m * n);
  for (size_t k = 0; k < n; ++k) {
    if (static_cast<int64_t>(k) % encoder->group_cols() == 0) {
      const std::vector<float> rest(w.begin() + static_cast<int64_t>(k * m), w.end());
      encoder->fit_group(static_cast<int64_t>(k) / encoder->group_cols(), 0, rows, rest.data(),
                         rows, FitOptions{});
    }
    const std::vector<float> column(w.begin() + static_cast<int64_t>(k * m),
                                    w.begin() + static_cast<int64_t>((k + 1) * m));
    std::vector<float> q(m);
    encoder->quantize(static_cast<int64_t>(k), 0, rows, column.data(), q.data(), rows);
    const double pivot = inverse[k * n + k];
    for (size_t r = 0; r < m; ++r) {
      values[r * n + k] = q[r];
      const double error = (w[k * m + r] - static_cast<double>(q[r])) / pivot;
      for (size_t j = k + 1; j < n; ++j) w[j * m + r] -= error * inverse[k * n + j];
    }
    for (size_t i = k + 1; i < n; ++i) {
      const double factor = inverse[i * n + k] / pivot;
      for (size_t j = k + 1; j < n; ++j) inverse[i * n + j] -= factor * inverse[k * n + j];
    }
  }
  return values;
}

// All solvers with settings worth testing.
struct Setting {
  std::string solver;
  nlohmann::json options;
};
std::vector<Setting> settings() {
  std::vector<Setting> result;
  for (const Solver* solver : Registry<Solver>::instance().all()) {
    result.push_back({solver->info().id, nlohmann::json::object()});
  }
  result.push_back({"clip", {{"weighted", false}, {"steps", 10}}});
  result.push_back({"gptq", {{"activation_order", true}}});
  result.push_back({"gptq", {{"range", "weighted"}, {"steps", 10}}});
  result.push_back({"gptq", {{"refine", 2}}});
  result.push_back({"gptq", {{"range", "search"}, {"steps", 10}, {"batch", 32}}});
  return result;
}

TEST(Solvers, ReportWhatTheBytesDecodeTo) {
  ThreadPool pool(2);
  for (const MatrixShape shape :
       {MatrixShape{0, 64}, {3, 0}, {1, 1}, {5, 288}, {65, 130}, {70, 63}}) {
    const auto weights = normal_weights(static_cast<size_t>(shape.rows * shape.cols), 1);
    const InputStatistics statistics(shape.cols, correlated_moment(shape.cols, 8, 2));
    for (const Scheme& scheme :
         {int_scheme(3, 64), int_scheme(4, 0, true), Scheme("bf16", nlohmann::json::object())}) {
      const Problem problem{weights, shape, &statistics, scheme};
      for (const auto& [id, options] : settings()) {
        SCOPED_TRACE(fmt::format("{} {} {} on {} x {}", id, options.dump(), scheme.label(),
                                 shape.rows, shape.cols));
        const Solution solution = solve(id, problem, pool, options);
        ASSERT_EQ(solution.bytes.size(), scheme.codec->encoded_bytes(shape, scheme.options));
        ASSERT_EQ(solution.values, testing::decode(scheme, shape, solution.bytes, 0, shape.rows));
        const std::vector<double> errors = slow_row_errors(problem, solution.values);
        ASSERT_EQ(solution.row_error.size(), errors.size());
        for (size_t r = 0; r < errors.size(); ++r) {
          ASSERT_NEAR(solution.row_error[r], errors[r], 1e-4 * errors[r] + 1e-9);
        }
      }
    }
  }
}

TEST(Solvers, SameCodesForAnyThreads) {
  const MatrixShape shape{200, 400};
  const auto weights = normal_weights(200 * 400, 3);
  for (const auto& [id, options] : settings()) {
    std::vector<std::byte> bytes;
    std::vector<double> errors;
    for (const int threads : {1, 2, 7}) {
      ThreadPool pool(threads);
      const InputStatistics statistics(shape.cols, correlated_moment(shape.cols, 20, 4));
      const Solution solution =
          solve(id, {weights, shape, &statistics, int_scheme(4, 64)}, pool, options);
      if (threads == 1) {
        bytes = solution.bytes;
        errors = solution.row_error;
      }
      EXPECT_EQ(solution.bytes, bytes) << id << options << threads;
      EXPECT_EQ(solution.row_error, errors) << id << options << threads;
    }
  }
}

TEST(Solvers, SomeRowsAloneGetTheSameCodes) {
  ThreadPool pool(2);
  const MatrixShape shape{150, 300};
  const auto weights = normal_weights(150 * 300, 5);
  const InputStatistics statistics(shape.cols, correlated_moment(shape.cols, 20, 6));
  for (const auto& [id, options] : settings()) {
    const Solution all = solve(id, {weights, shape, &statistics, int_scheme(4, 64)}, pool, options);
    for (const int64_t first : {1, 37, 149}) {
      const int64_t count = std::min<int64_t>(70, shape.rows - first);
      const std::vector<float> part(weights.begin() + first * 300,
                                    weights.begin() + (first + count) * 300);
      const Solution some =
          solve(id, {part, {count, 300}, &statistics, int_scheme(4, 64)}, pool, options);
      EXPECT_TRUE(
          std::equal(some.values.begin(), some.values.end(), all.values.begin() + first * 300))
          << id << options << " from row " << first;
    }
  }
}

TEST(Solvers, RefuseWeightsThatAreNotFinite) {
  ThreadPool pool(1);
  const InputStatistics statistics(8, correlated_moment(8, 3, 7));
  for (const Solver* solver : Registry<Solver>::instance().all()) {
    for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
      std::vector<float> weights(16, 0.5F);
      weights[11] = bad;
      try {
        solve(solver->info().id, {weights, {2, 8}, &statistics, int_scheme(4, 0)}, pool);
        ADD_FAILURE() << solver->info().id;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
        EXPECT_THAT(error.what(), HasSubstr("row 1, column 3"));
      }
    }
  }
}

TEST(Solvers, RefuseStatisticsOfAnotherSize) {
  ThreadPool pool(1);
  const InputStatistics statistics(7, correlated_moment(7, 3, 7));
  const std::vector<float> weights(16, 0.5F);
  EXPECT_THROW(solve("nearest", {weights, {2, 8}, &statistics, int_scheme(4, 0)}, pool), Error);
}

TEST(Nearest, EqualsTheCodecs) {
  ThreadPool pool(2);
  const MatrixShape shape{130, 200};
  const auto weights = normal_weights(130 * 200, 8);
  const Problem problem{weights, shape, nullptr, int_scheme(4, 64)};
  const auto expected = testing::encode(problem.scheme, shape, weights, pool);
  EXPECT_EQ(solve("nearest", problem, pool).bytes, expected.bytes);
}

TEST(Clip, IsNeverWorseThanNearestInItsOwnSum) {
  ThreadPool pool(2);
  const MatrixShape shape{64, 256};
  const auto weights = normal_weights(64 * 256, 9);
  // A diagonal second moment: the sum that the search minimises is the whole error.
  std::vector<double> h(256 * 256);
  Random random(10);
  for (size_t i = 0; i < 256; ++i) h[i * 257] = std::exp(2 * random.normal());
  const InputStatistics statistics(256, h);
  for (const bool symmetric : {false, true}) {
    for (const int bits : {1, 2, 3, 4, 8}) {
      for (const int64_t group : {0, 32}) {
        const Problem problem{weights, shape, &statistics, int_scheme(bits, group, symmetric)};
        const Solution nearest = solve("nearest", problem, pool);
        const Solution clip = solve("clip", problem, pool);
        for (size_t r = 0; r < 64; ++r) {
          EXPECT_LE(clip.row_error[r], nearest.row_error[r] * (1 + 1e-5));
        }
      }
    }
  }
}

TEST(Gptq, EqualsOptimalBrainSurgeon) {
  ThreadPool pool(2);
  for (const int64_t cols : {5, 64, 150}) {
    for (const int64_t group : {0, 32}) {
      for (const int batch : {1, 16, 128}) {
        const MatrixShape shape{20, cols};
        const auto weights = normal_weights(static_cast<size_t>(20 * cols), 11);
        const InputStatistics statistics(cols, correlated_moment(cols, 10, 12));
        const Problem problem{weights, shape, &statistics, int_scheme(3, group)};
        const Solution solution = solve("gptq", problem, pool, {{"batch", batch}});
        const std::vector<float> twin = slow_gptq(problem, 0.01);
        // float32 against float64: a weight midway between two codes may go either way, and what is
        // left of its row with it.
        const auto slow = slow_row_errors(problem, twin);
        int64_t different_rows = 0;
        for (int64_t r = 0; r < 20; ++r) {
          const bool same = std::equal(twin.begin() + r * cols, twin.begin() + (r + 1) * cols,
                                       solution.values.begin() + r * cols,
                                       [](float a, float b) { return std::fabs(a - b) < 1e-4F; });
          different_rows += same ? 0 : 1;
        }
        EXPECT_LE(different_rows, 1) << cols << " columns, group " << group << ", batch " << batch;
        EXPECT_NEAR(total_error(solution) / std::accumulate(slow.begin(), slow.end(), 0.0), 1.0,
                    0.02);
      }
    }
  }
}

// Σ_k d_k (target_k - q_k)² is the damped error, so each factor multiplies out to the damped
// matrix.
TEST(InputStatistics, FactorsMultiplyOut) {
  ThreadPool pool(2);
  for (const int64_t cols : {1, 100, 128, 300}) {
    const std::vector<double> h = correlated_moment(cols, 10, 13);
    const InputStatistics statistics(cols, h);
    double mean = 0;
    for (int64_t i = 0; i < cols; ++i)
      mean += h[static_cast<size_t>(i * cols + i)] / static_cast<double>(cols);
    for (const bool descending : {false, true}) {
      const auto& factor = statistics.factor(0.02, descending, 4, pool);
      EXPECT_EQ(&factor, &statistics.factor(0.02, descending, 4, pool));
      std::vector<int64_t> sorted = factor.order;
      std::ranges::sort(sorted);
      for (int64_t i = 0; i < cols; ++i) ASSERT_EQ(sorted[static_cast<size_t>(i)], i);
      const auto u = [&](int64_t i, int64_t j) {
        return static_cast<double>(factor.unit[static_cast<size_t>(i * cols + j)]);
      };
      for (int64_t i = 0; i < cols; ++i) {
        ASSERT_EQ(u(i, i), 1.0);
        for (int64_t j = i; j < cols; ++j) {
          double sum = 0;
          for (int64_t k = j; k < cols; ++k) {
            sum += u(i, k) * static_cast<double>(factor.pivots[static_cast<size_t>(k)]) * u(j, k);
          }
          const int64_t a = factor.order[static_cast<size_t>(i)];
          const int64_t b = factor.order[static_cast<size_t>(j)];
          double expected = h[static_cast<size_t>(a * cols + b)];
          if (i == j && expected == 0) expected = mean;
          if (i == j) expected += 0.02 * mean;
          ASSERT_NEAR(sum, expected, 1e-5 * (1 + std::fabs(expected))) << i << ", " << j;
        }
      }
    }
    const auto& order = statistics.factor(0.02, true, 1, pool).order;
    const std::vector<float> diagonal = statistics.importance();
    for (size_t i = 1; i < order.size(); ++i) {
      const auto used = [&](size_t k) {
        const auto d = static_cast<double>(diagonal[static_cast<size_t>(order[k])]);
        return d == 0 ? mean : d;
      };
      ASSERT_GE(used(i - 1), used(i) * (1 - 1e-6));
    }
  }
}

// The codec `int`, made to code four columns at a time, as vector codecs do.
class BlockCodec final : public Codec {
 public:
  class BlockEncoder final : public Encoder {
   public:
    BlockEncoder(std::unique_ptr<Encoder> columns, int64_t cols)
        : columns_(std::move(columns)), cols_(cols) {}
    int64_t group_cols() const override { return columns_->group_cols(); }
    int64_t block_cols() const override { return 4; }
    void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool& pool) override {
      columns_->prepare(weights, fit, pool);
    }
    void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                   int64_t stride, const FitOptions& fit) override {
      columns_->fit_group(group, row_begin, row_count, w, stride, fit);
    }
    void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                  int64_t stride) override {
      EXPECT_EQ(col % 4, 0);
      for (int64_t c = 0; c < 4; ++c) {
        if (col + c < cols_) {
          columns_->quantize(col + c, row_begin, row_count, w + c * stride, q + c * stride, stride);
          continue;
        }
        for (int64_t r = 0; r < row_count; ++r) EXPECT_EQ(w[c * stride + r], 0.0F);
        std::fill_n(q + c * stride, row_count, 1e9F);  // must not be used
      }
    }
    void finish(std::span<std::byte> bytes) const override { columns_->finish(bytes); }

   private:
    std::unique_ptr<Encoder> columns_;
    int64_t cols_;
  };

  const PartInfo& info() const override { return base_.info(); }
  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return base_.encoded_bytes(shape, options);
  }
  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<BlockEncoder>(base_.encoder(shape, options), shape.cols);
  }
  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    base_.decode(shape, options, bytes, row_begin, row_count, out);
  }
  std::string label(const Options& options) const override { return base_.label(options); }

 private:
  const Codec& base_ = Registry<Codec>::instance().get("int");
};

TEST(Solvers, WorkWithCodecsThatCodeColumnsJointly) {
  ThreadPool pool(2);
  const BlockCodec codec;
  const MatrixShape shape{66, 270};  // the last block has two columns
  const auto weights = normal_weights(66 * 270, 21);
  const InputStatistics statistics(270, correlated_moment(270, 30, 22));
  const Problem single{weights, shape, &statistics, int_scheme(3, 40)};
  Problem joint = single;
  joint.scheme.codec = &codec;
  const Solution nearest = solve("nearest", single, pool);
  EXPECT_EQ(solve("nearest", joint, pool).bytes, nearest.bytes);
  for (const bool order : {false, true}) {
    const Solution gptq = solve("gptq", joint, pool, {{"activation_order", order}, {"batch", 30}});
    EXPECT_EQ(gptq.values, testing::decode(joint.scheme, shape, gptq.bytes, 0, 66));
    EXPECT_LT(total_error(gptq), 0.7 * total_error(nearest));
    // No feedback inside blocks.
    const Solution without = solve("gptq", single, pool, {{"activation_order", order}});
    EXPECT_GT(total_error(gptq), total_error(without));
  }
  EXPECT_THROW(solve("gptq", joint, pool, {{"refine", 1}}), Error);
}

// Whatever a codec needs (a look at the whole matrix, joint columns): what is reported is what the
// bytes decode to, and feedback pays.
TEST(Solvers, WorkWithEveryCodec) {
  ThreadPool pool(2);
  const MatrixShape shape{40, 256};
  const auto weights = normal_weights(40 * 256, 23);
  const InputStatistics statistics(256, correlated_moment(256, 30, 24));
  for (const Codec* codec : Registry<Codec>::instance().all()) {
    const Problem problem{weights, shape, &statistics,
                          Scheme(codec->info().id, nlohmann::json::object())};
    const auto solved = [&](const char* id, const nlohmann::json& options) {
      const Solution solution = solve(id, problem, pool, options);
      EXPECT_EQ(solution.values, testing::decode(problem.scheme, shape, solution.bytes, 0, 40))
          << id << ", " << problem.scheme.label();
      return total_error(solution);
    };
    const double nearest = solved("nearest", nlohmann::json::object());
    solved("clip", {{"steps", 4}});
    const double gptq = solved("gptq", {{"range", "weighted"}, {"steps", 4}});
    const auto encoder = codec->encoder(shape, problem.scheme.options);
    const bool lossy =
        testing::relative_mse(weights, solve("nearest", problem, pool).values) > 1e-5;
    if (lossy && encoder->block_cols() < 32) {
      EXPECT_LT(gptq, nearest) << problem.scheme.label();
    }
  }
}

TEST(InputStatistics, RefusesBadNumbers) {
  ThreadPool pool(1);
  EXPECT_THROW(InputStatistics(1, {std::nan("")}), Error);
  EXPECT_THROW(InputStatistics(1, {-1.0}), Error);
  const InputStatistics singular(2, {1.0, 1.0, 1.0, 1.0});
  EXPECT_THROW(singular.factor(0.0, false, 1, pool), Error);
  EXPECT_NO_THROW(singular.factor(0.01, false, 1, pool));
  const InputStatistics unused(2, {0.0, 0.0, 0.0, 0.0});
  EXPECT_NO_THROW(unused.factor(0.0, false, 1, pool));
}

TEST(Gptq, IsNeverWorseThanNearest) {
  ThreadPool pool(2);
  const MatrixShape shape{64, 256};
  const auto weights = normal_weights(64 * 256, 14);
  for (const uint64_t seed : {15, 16}) {
    const InputStatistics statistics(256, correlated_moment(256, 30, seed));
    for (const bool symmetric : {false, true}) {
      for (int bits = 1; bits <= 8; ++bits) {
        for (const int64_t group : {0, 32, 100}) {
          const Problem problem{weights, shape, &statistics, int_scheme(bits, group, symmetric)};
          const double nearest = total_error(solve("nearest", problem, pool));
          for (const bool order : {false, true}) {
            const Solution gptq = solve("gptq", problem, pool, {{"activation_order", order}});
            EXPECT_LE(total_error(gptq), nearest)
                << problem.scheme.label() << (order ? ", activation order" : "");
          }
        }
      }
    }
  }
}

// A column whose error the columns after it can make up for is the one to drop.
TEST(Gptq, MasksKnowWhatFeedbackMakesUpFor) {
  ThreadPool pool(2);
  const MatrixShape shape{64, 256};
  const auto weights = normal_weights(64 * 256, 14);
  const Scheme sparse("sparse",
                      {{"density", 0.5}, {"of", 64}, {"inner", R"({"codec":"f32","options":{}})"}});
  for (const uint64_t seed : {15, 16, 17}) {
    const InputStatistics statistics(256, correlated_moment(256, 30, seed));
    const Problem problem{weights, shape, &statistics, sparse};
    const auto error = [&](const char* range) {
      return total_error(solve("gptq", problem, pool, {{"range", range}}));
    };
    const double feedback = error("feedback");
    EXPECT_LT(feedback, error("minmax"));
    EXPECT_LT(feedback, total_error(solve("clip", problem, pool)));  // Wanda's choice
  }
}

TEST(Admm, EachRowIsNoWorseThanWithNearestCodes) {
  ThreadPool pool(2);
  const MatrixShape shape{70, 256};
  const auto weights = normal_weights(70 * 256, 14);
  const Scheme sparse("sparse",
                      {{"density", 0.5}, {"of", 64}, {"inner", R"({"codec":"f32","options":{}})"}});
  for (const uint64_t seed : {15, 16}) {
    const InputStatistics statistics(256, correlated_moment(256, 30, seed));
    for (const Scheme& scheme : {int_scheme(2, 32), int_scheme(3, 64), int_scheme(4, 0), sparse}) {
      const Problem problem{weights, shape, &statistics, scheme};
      const Solution nearest = solve("nearest", problem, pool);
      const Solution admm = solve("admm", problem, pool);
      for (size_t row = 0; row < admm.row_error.size(); ++row) {
        EXPECT_LE(admm.row_error[row], nearest.row_error[row] * 1.0001);
      }
      const double most = scheme.codec->info().id == "sparse" ? 0.7 : 0.95;
      EXPECT_LT(total_error(admm), most * total_error(nearest)) << scheme.label();
    }
  }
}

TEST(Gptq, RefinementNeverRaisesTheError) {
  ThreadPool pool(2);
  const MatrixShape shape{70, 300};
  const auto weights = normal_weights(70 * 300, 19);
  const InputStatistics statistics(300, correlated_moment(300, 30, 20));
  for (const int bits : {1, 2, 4}) {
    const Problem problem{weights, shape, &statistics, int_scheme(bits, 50)};
    std::vector<double> before = solve("gptq", problem, pool).row_error;
    const double start = std::accumulate(before.begin(), before.end(), 0.0);
    for (const int sweeps : {1, 2, 3}) {
      const Solution refined = solve("gptq", problem, pool, {{"refine", sweeps}});
      for (size_t r = 0; r < before.size(); ++r) {
        EXPECT_LE(refined.row_error[r], before[r] * (1 + 1e-4)) << bits << " bits";
      }
      before = refined.row_error;
    }
    EXPECT_LT(std::accumulate(before.begin(), before.end(), 0.0), 0.99 * start);
  }
}

// On tiny rows every combination of codes can be tried: feedback comes close to the best, and
// neither solver beats it.
TEST(Gptq, ComesCloseToExhaustiveSearch) {
  ThreadPool pool(1);
  const MatrixShape shape{40, 6};
  const auto weights = normal_weights(40 * 6, 17);
  const InputStatistics statistics(6, correlated_moment(6, 2, 18));
  const Problem problem{weights, shape, &statistics, int_scheme(2, 0, true)};
  // Groups fitted up front are the same for both, so both choose among the same levels.
  const Solution nearest = solve("nearest", problem, pool);
  const Solution gptq = solve("gptq", problem, pool, {{"activation_order", true}});
  const auto encoder = problem.scheme.codec->encoder(shape, problem.scheme.options);
  std::vector<float> columns(40 * 6);
  for (size_t r = 0; r < 40; ++r) {
    for (size_t c = 0; c < 6; ++c) columns[c * 40 + r] = weights[r * 6 + c];
  }
  encoder->fit_group(0, 0, 40, columns.data(), 40, FitOptions{});
  std::vector<std::vector<float>> levels(40);
  for (float x = -4; x <= 4; x += 0.02F) {
    const std::vector<float> w(40, x);
    std::vector<float> q(40);
    encoder->quantize(0, 0, 40, w.data(), q.data(), 40);
    for (size_t r = 0; r < 40; ++r) {
      if (std::ranges::find(levels[r], q[r]) == levels[r].end()) levels[r].push_back(q[r]);
    }
  }
  std::vector<double> best(40, std::numeric_limits<double>::infinity());
  for (size_t combination = 0; combination < 4096; ++combination) {
    std::vector<float> values(40 * 6);
    for (size_t r = 0; r < 40; ++r) {
      ASSERT_EQ(levels[r].size(), 4U);
      for (size_t c = 0; c < 6; ++c) values[r * 6 + c] = levels[r][combination >> (2 * c) & 3];
    }
    const auto errors = slow_row_errors(problem, values);
    for (size_t r = 0; r < 40; ++r) best[r] = std::min(best[r], errors[r]);
  }
  double sum = 0;
  for (size_t r = 0; r < 40; ++r) {
    EXPECT_GE(gptq.row_error[r], best[r] * (1 - 1e-4) - 1e-6);
    EXPECT_GE(nearest.row_error[r], best[r] * (1 - 1e-4) - 1e-6);
    sum += best[r];
  }
  EXPECT_LT(total_error(gptq) - sum, 0.5 * (total_error(nearest) - sum));
}

TEST(Gptq, NeedsStatistics) {
  ThreadPool pool(1);
  const std::vector<float> weights(16, 0.5F);
  EXPECT_THROW(solve("gptq", {weights, {2, 8}, nullptr, int_scheme(4, 0)}, pool), Error);
}

}  // namespace
}  // namespace bitsmith
