// The estimate of memory: what it must obey whatever the sizes are.
#include "pipeline/memory.h"

#include <gtest/gtest.h>

#include "runtime/runtime_testing.h"

namespace bitsmith {
namespace {

Model model_of(const testing::SmallModel& small) {
  Model model;
  model.graph = small.graph;
  model.parameters = small.parameters;
  return model;
}

MemoryEstimate estimate(const Model& model, const CalibrationSet* calibration, bool sampled = false,
                        int threads = 2, bool surveyed = true, bool transformed = false) {
  const std::vector<Block> blocks = find_blocks(model.graph);
  const std::vector<MatrixTask> tasks =
      find_matrices(model, blocks, {Scheme("int", {{"bits", 4}, {"group", 32}})});
  return estimate_memory(model, blocks, tasks,
                         {calibration, sampled, surveyed, transformed, threads, 5});
}

CalibrationSet sizes(int64_t length, int64_t count, int64_t probes) {
  CalibrationSet set;
  set.length = length;
  set.count = count;
  set.probes = probes;
  return set;
}

TEST(MemoryEstimate, KeepsWithinAnyRamThatIsNotRefused) {
  const testing::SmallModel small(testing::small_config("llama"),
                                  Scheme("f32", nlohmann::json::object()));
  const Model model = model_of(small);
  for (const int64_t length : {16, 512, 4096}) {
    for (const int64_t count : {1, 100, 100000}) {
      const CalibrationSet set = sizes(length, count, 8);
      const MemoryEstimate e = estimate(model, &set);
      EXPECT_GT(e.sequences_bytes, e.probes_bytes);
      for (uint64_t ram = e.fixed_bytes; ram < uint64_t{1} << 44; ram += ram / 3) {
        EXPECT_NO_THROW(check_memory(e, ram));
        EXPECT_GE(e.peak_bytes(ram), e.fixed_bytes);
        EXPECT_LE(e.peak_bytes(ram), ram);
      }
      // With memory for all of them, the activations are in it.
      EXPECT_GE(e.peak_bytes(uint64_t{1} << 50), e.fixed_bytes + e.sequences_bytes);
    }
  }
}

TEST(MemoryEstimate, RefusesTooLittleWithTheSmallestThatWorks) {
  const testing::SmallModel small(testing::small_config("llama"),
                                  Scheme("f32", nlohmann::json::object()));
  const Model model = model_of(small);
  const CalibrationSet set = sizes(4096, 4, 2);
  const MemoryEstimate e = estimate(model, &set);
  try {
    check_memory(e, e.fixed_bytes - 1);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kImpossibleBudget);
    const std::string message = error.what();
    const size_t at = message.find("--ram ", 6) + 6;
    const uint64_t megabytes = std::stoull(message.substr(at));
    EXPECT_EQ(message.substr(message.find_first_not_of("0123456789", at), 2), "MB") << message;
    EXPECT_NO_THROW(check_memory(e, megabytes * 1000000));
    EXPECT_THROW(check_memory(e, (megabytes - 1) * 1000000), Error);
    EXPECT_NE(message.find("block '"), std::string::npos) << message;
  }
}

TEST(MemoryEstimate, GrowsWithEverythingThatIsHeld) {
  const testing::SmallModel small(testing::small_config("llama"),
                                  Scheme("f32", nlohmann::json::object()));
  const Model model = model_of(small);
  const CalibrationSet set = sizes(512, 16, 8);
  const CalibrationSet longer = sizes(1024, 16, 8);
  const uint64_t base = estimate(model, &set).fixed_bytes;
  EXPECT_LT(estimate(model, nullptr).fixed_bytes, base);
  EXPECT_GT(estimate(model, &longer).fixed_bytes, base);
  EXPECT_GT(estimate(model, &set, false, 4).fixed_bytes, base);
  // Without a survey one second moment is there at a time, unless transforms ask for a block's.
  const uint64_t plain = estimate(model, &set, false, 2, false).fixed_bytes;
  EXPECT_LT(plain, base);
  EXPECT_GT(estimate(model, &set, false, 2, false, true).fixed_bytes, plain);
  nlohmann::json wide = testing::small_config("llama");
  wide["intermediate_size"] = 4096;
  const testing::SmallModel wider(wide, Scheme("f32", nlohmann::json::object()));
  // Second moments of 4096 features in float64 alone.
  EXPECT_GT(estimate(model_of(wider), &set).fixed_bytes, base + 8 * 4096 * 4096);
}

TEST(SamplingPlan, KeepsTheCachesWithinAQuarter) {
  const testing::SmallModel small(testing::small_config("llama"),
                                  Scheme("f32", nlohmann::json::object()));
  const uint64_t cache = sequence_cache_bytes(model_of(small), 512);
  // 2 layers of 2 heads of 16 keys and 16 values, in 2 bytes.
  EXPECT_EQ(cache, 512u * 2 * 2 * 16 * 2 * 2);
  for (uint64_t ram = cache; ram < 1000 * cache; ram += cache / 3) {
    const SamplingPlan plan = plan_sampling(cache, cache, ram);
    EXPECT_GE(plan.together, 1);
    EXPECT_LE(plan.together, 32);
    if (plan.together > 1) {
      EXPECT_LE(static_cast<uint64_t>(plan.together) * cache, ram / 4);
    }
    EXPECT_EQ(plan.release_weights, cache > ram / 2);
  }
}

}  // namespace
}  // namespace bitsmith
