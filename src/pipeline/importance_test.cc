// Importance matrices: what they hold, and their sums.
#include "pipeline/importance.h"

#include <gtest/gtest.h>

#include "core/output_file.h"
#include "pipeline/pipeline_testing.h"

namespace bitsmith {
namespace {

ImportanceMatrix measured(const testing::TemporaryFolder& folder, int threads) {
  ImportanceRequest request;
  request.model = folder / "model";
  request.calibration.text = folder / "text.txt";
  request.calibration.sequences = 8;
  request.calibration.length = 16;
  request.threads = threads;
  SilentProgress silent;
  return measure_importance(request, silent);
}

TEST(Importance, HoldsTheMeanSquareOfEveryInput) {
  const testing::TemporaryFolder folder;
  testing::write_tiny_model(folder / "model");
  std::string text;
  Random random(1);
  while (text.size() < 400) text += static_cast<char>('a' + random.below(20));
  testing::write_bytes(folder / "text.txt", text);
  const ImportanceMatrix one = measured(folder, 1);
  // q, k, v, o, gate, up and down of two layers, and the head.
  ASSERT_EQ(one.entries.size(), 15U);
  EXPECT_EQ(one.entries.at("blk.1.ffn_down.weight").inputs(), 48);
  EXPECT_EQ(one.chunk_count, 8);
  EXPECT_EQ(one.chunk_size, 16);
  EXPECT_EQ(one.datasets, std::vector<std::string>{"text.txt"});
  // Layers that read the same value.
  EXPECT_EQ(one.entries.at("blk.0.attn_q.weight").sums, one.entries.at("blk.0.attn_v.weight").sums);
  EXPECT_NE(one.entries.at("blk.0.attn_q.weight").sums, one.entries.at("blk.1.attn_q.weight").sums);
  // A norm gives vectors of mean square 1, times its weights of 1 within some tenths.
  double sum = 0;
  for (const float mean : one.entries.at("blk.0.attn_q.weight").mean_squares(0)) sum += mean;
  EXPECT_NEAR(sum / 32, 1.0, 0.3);

  const ImportanceMatrix two = measured(folder, 2);
  for (const auto& [name, entry] : one.entries) EXPECT_EQ(two.entries.at(name).sums, entry.sums);
}

TEST(Importance, SumsOfSeveral) {
  ImportanceMatrix a;
  a.entries["x"] = {1, {1, 2}, {3}};
  a.chunk_count = 1;
  a.datasets = {"a"};
  ImportanceMatrix b = a;
  b.entries["y"] = {1, {5}, {1}};
  b.datasets = {"b"};
  const ImportanceMatrix both = merged({a, b});
  EXPECT_EQ(both.entries.at("x").sums, (std::vector<float>{2, 4}));
  EXPECT_EQ(both.entries.at("x").counts, std::vector<float>{6});
  EXPECT_EQ(both.entries.at("y").sums, std::vector<float>{5});
  EXPECT_EQ(both.datasets, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(both.chunk_count, 2);
  // Chunks of 10 tokens each, whose number alone is known.
  ImportanceMatrix older;
  older.entries["x"] = {1, {8, 4}, {4}};
  ImportanceMatrix newer;
  newer.entries["x"] = {1, {20, 60}, {40}};
  newer.chunk_size = 10;
  const ImportanceMatrix mixed = merged({older, newer});
  EXPECT_EQ(mixed.entries.at("x").mean_squares(0), (std::vector<float>{1.25, 1.25}));
  EXPECT_EQ(mixed.chunk_size, 10);

  b.entries["x"] = {1, {1, 2, 3}, {3}};
  EXPECT_THROW(merged({a, b}), Error);
}

}  // namespace
}  // namespace bitsmith
