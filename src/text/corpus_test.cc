// Text files and windows.
#include "text/corpus.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"
#include "text/test_data.h"

namespace bitsmith {
namespace {

TEST(Windows, CoverEveryTokenOnce) {
  for (const int64_t total : {0, 1, 7, 8, 9, 16, 17}) {
    std::vector<TokenId> tokens(static_cast<size_t>(total));
    std::iota(tokens.begin(), tokens.end(), 0);
    const Windows kept(tokens, 8), dropped(tokens, 8, Windows::Last::kDrop);
    EXPECT_EQ(kept.size(), (total + 7) / 8);
    EXPECT_EQ(dropped.size(), total / 8);
    EXPECT_EQ(kept.scored_tokens(), total - kept.size());
    EXPECT_EQ(dropped.scored_tokens(), dropped.size() * 7);
    std::vector<TokenId> joined;
    for (int64_t i = 0; i < kept.size(); ++i) {
      joined.insert(joined.end(), kept[i].begin(), kept[i].end());
    }
    EXPECT_EQ(joined, tokens);
    for (int64_t i = 0; i < dropped.size(); ++i) EXPECT_EQ(dropped[i].size(), 8u);
  }
  EXPECT_THROW(Windows({}, 1), Error);
}

TEST(ReadText, RefusesWhatIsNotPlainText) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / "bitsmith_corpus_test.txt";
  const auto write = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  };
  write("plain\n");
  EXPECT_EQ(read_text(path), "plain\n");
  EXPECT_THROW(read_text(path, 3), Error);
  for (const std::string& magic : {std::string("\xFD") + "7zXZ" + '\0', std::string("\x1F\x8B"),
                                   std::string("\x28\xB5\x2F\xFD"), std::string("BZh9")}) {
    write(magic + "rest");
    EXPECT_THROW(read_text(path), Error);
  }
  std::filesystem::remove(path);
  EXPECT_THROW(read_text(path), Error);
  EXPECT_THROW(read_text(testing::TempDir()), Error);
}

}  // namespace
}  // namespace bitsmith
