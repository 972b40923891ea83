// Allocators: exact on tiny cases, fast on large ones, never over the budget.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "allocation/tables.h"
#include "core/error.h"
#include "core/random.h"

namespace bitsmith {
namespace {

using ::testing::HasSubstr;

Choice allocate(const std::string& id, const Tables& tables, uint64_t budget,
                const nlohmann::json& options = nlohmann::json::object()) {
  const Allocator& allocator = Registry<Allocator>::instance().get(id);
  return allocator.allocate(tables, budget, Options(allocator.info().options, options, id));
}

// The least loss of any choice that fits; infinity if there is none.
double brute_force(const Tables& tables, uint64_t budget, size_t t = 0) {
  if (t == tables.size()) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : tables[t]) {
    if (candidate.bytes > budget) continue;
    best = std::min(best, candidate.loss + brute_force(tables, budget - candidate.bytes, t + 1));
  }
  return best;
}

// What every answer must satisfy.
void check(const Tables& tables, uint64_t budget, const Choice& choice) {
  ASSERT_EQ(choice.picks.size(), tables.size());
  uint64_t bytes = 0;
  double loss = 0;
  for (size_t t = 0; t < tables.size(); ++t) {
    ASSERT_LT(choice.picks[t], tables[t].size());
    bytes += tables[t][choice.picks[t]].bytes;
    loss += tables[t][choice.picks[t]].loss;
  }
  EXPECT_EQ(choice.bytes, bytes);
  EXPECT_DOUBLE_EQ(choice.loss, loss);
  EXPECT_LE(choice.bytes, budget);
  EXPECT_LE(choice.bound, choice.loss);
}

// Random tables of several kinds: kind 0 anything; 1 many ties; 2 losses zero or tiny; 3 huge byte
// counts; 4 like bit widths: loss falls by about 4 per bit, over many orders of magnitude.
Tables random_tables(Random& random, int kind, size_t tensors, size_t candidates) {
  Tables tables(tensors);
  for (auto& table : tables) {
    const double size = 1.0 + std::floor(random.uniform() * 1000);
    const double sensitivity = std::exp(6 * random.normal());
    const size_t count = 1 + random.below(candidates);
    for (size_t i = 0; i < count; ++i) {
      Candidate candidate{random.below(1000), random.uniform()};
      if (kind == 1) candidate = {random.below(4), static_cast<double>(random.below(3))};
      if (kind == 2) candidate.loss = random.below(2) == 0 ? 0.0 : 1e-12 * random.uniform();
      if (kind == 3) candidate.bytes = random.next() >> (4 + random.below(20));
      if (kind == 4) {
        const double bits = 1.0 + 7.0 * random.uniform();
        candidate.bytes = static_cast<uint64_t>(size * bits * 1000);
        candidate.loss = sensitivity * size * std::exp2(-2 * bits) * (0.9 + 0.2 * random.uniform());
      }
      table.push_back(candidate);
    }
  }
  return tables;
}

uint64_t smallest_bytes(const Tables& tables) {
  uint64_t bytes = 0;
  for (const auto& table : tables) bytes += std::ranges::min(table, {}, &Candidate::bytes).bytes;
  return bytes;
}

uint64_t largest_bytes(const Tables& tables) {
  uint64_t bytes = 0;
  for (const auto& table : tables) bytes += std::ranges::max(table, {}, &Candidate::bytes).bytes;
  return bytes;
}

TEST(Knapsack, EqualsBruteForce) {
  Random random(1);
  for (int i = 0; i < 600; ++i) {
    const int kind = i % 5;
    const Tables tables = random_tables(random, kind, 1 + random.below(6), 6);
    const uint64_t low = smallest_bytes(tables);
    const uint64_t budget = low + random.below(largest_bytes(tables) - low + 1);
    const Choice choice = allocate("knapsack", tables, budget);
    check(tables, budget, choice);
    const double best = brute_force(tables, budget);
    EXPECT_LE(choice.loss, best * (1 + 1e-6)) << "case " << i;
    EXPECT_LE(choice.bound, best * (1 + 1e-9) + 1e-300) << "case " << i;
  }
}

TEST(Knapsack, TakesTheWholeBudgetAndNotAByteMore) {
  const Tables tables = {{{10, 3.0}, {20, 1.0}}, {{10, 3.0}, {20, 2.0}}};
  EXPECT_EQ(allocate("knapsack", tables, 20).picks, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(allocate("knapsack", tables, 29).picks, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(allocate("knapsack", tables, 30).picks, (std::vector<size_t>{1, 0}));
  EXPECT_EQ(allocate("knapsack", tables, 39).picks, (std::vector<size_t>{1, 0}));
  EXPECT_EQ(allocate("knapsack", tables, 40).picks, (std::vector<size_t>{1, 1}));
  EXPECT_EQ(allocate("knapsack", tables, UINT64_MAX).picks, (std::vector<size_t>{1, 1}));
}

TEST(Knapsack, SolvesAModelInSeconds) {
  Random random(2);
  for (const int kind : {0, 4}) {
    Tables tables;
    for (int t = 0; t < 200; ++t) {
      tables.push_back(random_tables(random, kind, 1, 1)[0]);
      while (tables.back().size() < 30) {
        tables.back().push_back(random_tables(random, kind, 1, 1)[0][0]);
      }
    }
    const uint64_t low = smallest_bytes(tables);
    const uint64_t high = largest_bytes(tables);
    double previous = std::numeric_limits<double>::infinity();
    for (const double part : {0.02, 0.1, 0.3, 0.6}) {
      const auto budget = low + static_cast<uint64_t>(part * static_cast<double>(high - low));
      const Choice choice = allocate("knapsack", tables, budget);
      check(tables, budget, choice);
      EXPECT_LE(choice.loss, choice.bound + 1e-6 * choice.loss);
      EXPECT_LE(choice.loss, previous);
      if (part == 0.1) {
        EXPECT_EQ(allocate("knapsack", tables, budget).picks, choice.picks);
      }
      previous = choice.loss;
    }
  }
}

TEST(Knapsack, SaysNothing) {
  Random random(3);
  const Tables tables = random_tables(random, 0, 40, 12);
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  allocate("knapsack", tables, smallest_bytes(tables) + 3000);
  std::fflush(stdout);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(Allocators, RefuseWhatCannotWork) {
  const Tables tables = {{{100, 1.0}, {300, 0.5}}, {{50, 1.0}, {80, 0.1}}};
  for (const Allocator* allocator : Registry<Allocator>::instance().all()) {
    const std::string& id = allocator->info().id;
    try {
      allocate(id, tables, 149);
      ADD_FAILURE() << id;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kImpossibleBudget);
      EXPECT_THAT(error.what(), HasSubstr("150"));
    }
    const Choice smallest = allocate(id, tables, 150);
    check(tables, 150, smallest);
    EXPECT_EQ(smallest.picks, (std::vector<size_t>{0, 0}));
    EXPECT_TRUE(allocate(id, {}, 0).picks.empty());
    EXPECT_THROW(allocate(id, {{{1, 1.0}}, {}}, 10), Error);
    EXPECT_THROW(allocate(id, {{{1, std::nan("")}}}, 10), Error);
    // Sums beyond 64 bits are not mistaken for small ones.
    const Tables huge(3, {{UINT64_MAX / 2, 1.0}});
    EXPECT_THROW(allocate(id, huge, UINT64_MAX - 1), Error);
  }
}

TEST(Uniform, TakesTheBestCandidateThatFits) {
  const Tables tables = {{{10, 9.0}, {20, 3.0}, {30, 1.0}}, {{10, 9.0}, {20, 4.0}, {30, 1.0}}};
  EXPECT_EQ(allocate("uniform", tables, 20).picks, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(allocate("uniform", tables, 59).picks, (std::vector<size_t>{1, 1}));
  EXPECT_EQ(allocate("uniform", tables, 60).picks, (std::vector<size_t>{2, 2}));
  EXPECT_THROW(allocate("uniform", {{{1, 1.0}}, {{1, 1.0}, {2, 1.0}}}, 60), Error);
}

}  // namespace
}  // namespace bitsmith
