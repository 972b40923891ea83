// Importance matrices: both formats, and damage.
#include "formats/imatrix.h"

#include "formats/formats_test_support.h"

namespace bitsmith {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class T>
void put(std::string& text, T value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Two entries of the older format, the second of two inputs.
std::string old_file() {
  std::string text;
  put(text, int32_t{2});
  for (const auto& [name, sums] : {std::pair("a.weight", std::vector<float>{6}),
                                   std::pair("b.weight", std::vector<float>{3, 1.5F})}) {
    put(text, static_cast<int32_t>(std::strlen(name)));
    text += name;
    put(text, int32_t{3});
    put(text, static_cast<int32_t>(sums.size()));
    for (const float x : sums) put(text, x);
  }
  return text;
}

TEST(Imatrix, ReadsTheOlderFormat) {
  const ImportanceMatrix without_end = read_imatrix(as_bytes(old_file()), "x");
  EXPECT_THAT(without_end.entries.at("a.weight").mean_squares(0), ElementsAre(2));
  EXPECT_THAT(without_end.entries.at("b.weight").mean_squares(0), ElementsAre(1, 0.5F));
  std::string text = old_file();
  put(text, int32_t{7});
  put(text, int32_t{4});
  text += "text";
  const ImportanceMatrix matrix = read_imatrix(as_bytes(text), "x");
  EXPECT_EQ(matrix.chunk_count, 7);
  EXPECT_THAT(matrix.datasets, ElementsAre("text"));
}

TEST(Imatrix, WritesTheOlderFormat) {
  ImportanceMatrix matrix;
  matrix.datasets = {"one.txt"};
  matrix.chunk_count = 4;
  matrix.entries["a.weight"] = {1, {8, 2, 4}, {16}};
  TemporaryFolder folder;
  write_older_imatrix(folder / "x.dat", matrix);
  const ImportanceMatrix again = open_imatrix(folder / "x.dat");
  EXPECT_THAT(again.entries.at("a.weight").mean_squares(0), ElementsAre(0.5F, 0.125F, 0.25F));
  EXPECT_EQ(again.chunk_count, 4);
  EXPECT_THAT(again.datasets, ElementsAre("one.txt"));
  matrix.entries["a.weight"] = {3, {8, 2, 4}, {16, 16, 16}};
  EXPECT_THROW(write_older_imatrix(folder / "y.dat", matrix), Error);
}

TEST(Imatrix, WritesWhatItReads) {
  ImportanceMatrix matrix;
  matrix.datasets = {"one.txt", "two.txt"};
  matrix.chunk_count = 12;
  matrix.chunk_size = 512;
  matrix.entries["blk.0.ffn_down.weight"] = {1, {1, 2, 3}, {2}};
  matrix.entries["blk.0.ffn_down_exps.weight"] = {2, {1, 2, 3, 4}, {2, 0}};
  TemporaryFolder folder;
  write_imatrix(folder / "x.gguf", matrix);
  const ImportanceMatrix again = open_imatrix(folder / "x.gguf");
  EXPECT_EQ(again.datasets, matrix.datasets);
  EXPECT_EQ(again.chunk_count, 12);
  EXPECT_EQ(again.chunk_size, 512);
  ASSERT_EQ(again.entries.size(), 2U);
  EXPECT_THAT(again.entries.at("blk.0.ffn_down.weight").mean_squares(0),
              ElementsAre(0.5F, 1, 1.5F));
  const auto& experts = again.entries.at("blk.0.ffn_down_exps.weight");
  EXPECT_EQ(experts.inputs(), 2);
  EXPECT_THAT(experts.mean_squares(0), ElementsAre(0.5F, 1));
  EXPECT_THAT(experts.mean_squares(1), ElementsAre(0, 0));  // no token was seen
}

TEST(Imatrix, DamagedFilesNeverCrash) {
  expect_never_crashes(old_file(), 3000,
                       [](std::span<const std::byte> bytes) { read_imatrix(bytes, "x"); });
}

TEST(Imatrix, RefusesOtherGgufFiles) {
  TemporaryFolder folder;
  write_imatrix(folder / "x.gguf", {});
  std::string text = read_bytes(folder / "x.gguf");
  text.replace(text.find("imatrix"), 7, "adapter");
  EXPECT_THAT(error_of(ErrorCode::kCorrupt, [&] { read_imatrix(as_bytes(text), "x"); }),
              HasSubstr("no importance matrix"));
}

}  // namespace
}  // namespace bitsmith
