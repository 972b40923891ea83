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
  write("");
  EXPECT_EQ(read_text(path), "");
  for (const char* cut : {"\x82\xAC is a price", "a price in \xE2\x82"}) {  // by head -c, tail -c
    write(cut);
    EXPECT_EQ(read_text(path), cut);
  }
  for (const auto& [bytes, offset] : std::vector<std::pair<std::string, std::string>>{
           {"caf\xE9 au lait", "0xE9 at offset 3"},
           {"\xFF\xFE" + std::string("a\0", 2), "0xFF at offset 0"},
           {"\x80\x80\x80\x80", "0x80 at offset 3"},
           {"ab\xED\xA0\x80", "0xED at offset 2"}}) {
    write(bytes);
    try {
      read_text(path);
      ADD_FAILURE() << offset;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_NE(std::string(error.what()).find(offset), std::string::npos) << error.what();
    }
  }
  std::filesystem::remove(path);
  EXPECT_THROW(read_text(path), Error);
  EXPECT_THROW(read_text(::testing::TempDir()), Error);
}

}  // namespace
}  // namespace bitsmith
