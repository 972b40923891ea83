// Text files.
#include "text/corpus.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "text/test_data.h"

namespace bitsmith {
namespace {

TEST(ReadText, RefusesWhatIsNotPlainText) {
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / "bitsmith_corpus_test.txt";
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
  EXPECT_THROW(read_text(::testing::TempDir()), Error);
}

}  // namespace
}  // namespace bitsmith
