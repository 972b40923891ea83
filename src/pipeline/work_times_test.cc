// Estimates of time: the parts of coding, added up by hand.
#include "pipeline/work_times.h"

#include <gtest/gtest.h>

#include "runtime/runtime_testing.h"

namespace bitsmith {
namespace {

class WorkTimesTest : public ::testing::Test {
 protected:
  WorkTimesTest()
      : small_(testing::small_config("llama"), Scheme("f32", nlohmann::json::object())) {
    model_.graph = small_.graph;
    model_.parameters = small_.parameters;
    blocks_ = find_blocks(model_.graph);
    tasks_ = find_matrices(model_, blocks_, {Scheme("int", {{"bits", 4}, {"group", 32}})});
    times_ = {std::vector<double>(blocks_.size(), 0.0), std::vector<double>(blocks_.size(), 0.0),
              std::vector<double>(tasks_.size(), 0.0)};
    for (size_t b = 0; b < blocks_.size(); ++b) {
      times_.forward[b] = 100 * static_cast<double>(b + 1);
      times_.moments[b] = 10000 * static_cast<double>(b + 1);
    }
    for (size_t t = 0; t < tasks_.size(); ++t) times_.solving[t] = static_cast<double>(t + 1);
  }

  double weights(const char* role) const {
    for (const MatrixTask& task : tasks_) {
      if (model_.graph.value(task.id).role == role) {
        return static_cast<double>(task.shape().rows * task.shape().cols);
      }
    }
    ADD_FAILURE() << role;
    return 0;
  }

  testing::SmallModel small_;
  Model model_;
  std::vector<Block> blocks_;
  std::vector<MatrixTask> tasks_;
  WorkTimes times_;
};

// Embedding, attention, MLP, attention, MLP, head: the order of tasks is that of the graph.
TEST_F(WorkTimesTest, CodingIsPassesMomentsAndCodes) {
  ASSERT_EQ(blocks_.size(), 6u);
  ASSERT_EQ(tasks_.size(), 16u);
  const std::vector<double> seconds =
      coding_seconds(model_.graph, blocks_, tasks_, std::vector<size_t>(16, 0), times_, true);
  EXPECT_DOUBLE_EQ(seconds[0], 1 + 100);  // the table, and its output
  // Of the two stages of an attention, only the second runs matrices: q, k and v.
  const double qkv = weights("attention.q") + weights("attention.k") + weights("attention.v");
  const double o = weights("attention.o");
  EXPECT_NEAR(seconds[1], 2 + 3 + 4 + 5 + 20000 + 200 + 200 * qkv / (qkv + o), 1e-9);
  EXPECT_NEAR(seconds[2], 6 + 7 + 8 + 30000 + 300 + 300 * 2.0 / 3, 1e-9);
  // The head's output goes nowhere.
  EXPECT_DOUBLE_EQ(seconds[5], 16 + 60000);
}

TEST_F(WorkTimesTest, WhatStaysAsItIsCostsNothing) {
  const size_t as_it_is = tasks_.front().schemes.size() - 1;
  const std::vector<size_t> picks(tasks_.size(), as_it_is);
  const std::vector<double> seconds =
      coding_seconds(model_.graph, blocks_, tasks_, picks, times_, true);
  for (size_t b = 0; b < blocks_.size(); ++b) {
    EXPECT_DOUBLE_EQ(seconds[b], b + 1 < blocks_.size() ? times_.forward[b] : 0);
  }
  for (const double s : coding_seconds(model_.graph, blocks_, tasks_, picks, times_, false)) {
    EXPECT_EQ(s, 0);
  }
}

TEST_F(WorkTimesTest, AProbeTakesAsLongAsASequenceInBothNetworks) {
  CalibrationSet set;
  set.count = 50;
  set.probes = 10;
  EXPECT_DOUBLE_EQ(finishing_seconds(times_, &set), 2 * (100 + 200 + 300 + 400 + 500 + 600) / 5.0);
  EXPECT_EQ(finishing_seconds(times_, nullptr), 0);
}

TEST_F(WorkTimesTest, SurvivesJson) {
  const WorkTimes again = WorkTimes::from_json(nlohmann::json::parse(times_.to_json().dump()));
  EXPECT_EQ(again.forward, times_.forward);
  EXPECT_EQ(again.moments, times_.moments);
  EXPECT_EQ(again.solving, times_.solving);
}

}  // namespace
}  // namespace bitsmith
