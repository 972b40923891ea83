// Real tokenizers over whole texts: token counts that the models' reference figures were measured
// with. Vocabularies in GGUF files: formats/gguf_test.cc.
#include <gtest/gtest.h>

#include "text/corpus.h"
#include "text/test_data.h"
#include "text/unicode.h"

namespace bitsmith::text {
namespace {

TEST(RealText, ClassicsCountsAndRoundTrip) {
  const auto folder = shared_data("llm/classics-7m");
  const auto texts = shared_data("text/classics");
  if (folder.empty() || texts.empty())
    GTEST_SKIP() << "llm/classics-7m or text/classics is not there";
  const auto tokenizer = make_tokenizer(read_tokenizer_files(folder));
  const std::pair<const char*, int64_t> cases[] = {{"treasure_island.txt", 107100},
                                                   {"the_wonderful_wizard_of_oz.txt", 58395}};
  for (const auto& [name, scored] : cases) {
    // Its tokenizer_config.json asks for no BOS, so that special tokens make no difference.
    const std::vector<TokenId> ids = tokenize_file(texts / name, *tokenizer, true);
    EXPECT_EQ(static_cast<int64_t>(ids.size() / 256 * 255), scored);  // full windows of 256
    EXPECT_EQ(tokenizer->decode(ids), read_text(texts / name));
  }
}

TEST(RealText, TinystoriesCounts) {
  const auto folder = shared_data("llm/tinystories-656k");
  const auto path = shared_data("text/tinystories-sample/tinystories_sample.txt");
  if (folder.empty() || path.empty())
    GTEST_SKIP() << "llm/tinystories-656k or its sample is not there";
  const auto tokenizer = make_tokenizer(read_tokenizer_files(folder));
  const std::string text = read_text(path);
  constexpr std::string_view kEnd = "<|endoftext|>";
  size_t tokens = 0, beyond_ascii = 0, at = 0;
  for (int story = 0; story < 150; ++story) {
    const size_t end = text.find(kEnd, at);
    ASSERT_NE(end, std::string::npos);
    std::string one = text.substr(at, end - at);
    at = end + kEnd.size();
    one.erase(0, one.find_first_not_of(" \n"));
    one.erase(one.find_last_not_of(" \n") + 1);
    tokens += tokenizer->encode(one, false).size();
    for (size_t i = 0; i < one.size(); i += read_code_point(one, i).bytes) {
      beyond_ascii += static_cast<unsigned char>(one[i]) >= 0x80;
    }
  }
  // The manifest counts one unknown token per byte of the 122 characters that the vocabulary lacks,
  // all of three bytes; Hugging Face's library, as here, makes one per character.
  EXPECT_EQ(tokens, 29193u);
  EXPECT_EQ(beyond_ascii, 122u);
  EXPECT_EQ(tokens + 2 * beyond_ascii, 29437u);
}

TEST(RealText, AMegabyteInOneCall) {
  const auto folder = shared_data("llm/classics-7m");
  const auto path = shared_data("text/wikitext-2/wiki.test.raw");
  if (folder.empty() || path.empty())
    GTEST_SKIP() << "llm/classics-7m or text/wikitext-2 is not there";
  const auto tokenizer = make_tokenizer(read_tokenizer_files(folder));
  const std::vector<TokenId> ids = tokenize_file(path, *tokenizer);
  EXPECT_EQ(ids.size(), 445038u);
  EXPECT_EQ(tokenizer->decode(ids), read_text(path));
  EXPECT_EQ(stream_all(*tokenizer, ids), read_text(path));
}

}  // namespace
}  // namespace bitsmith::text
