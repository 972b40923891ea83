// GGUF's names for ways of cutting text into words.
#include "text/gguf_words.h"

#include <gtest/gtest.h>

namespace bitsmith::text {
namespace {

using Json = nlohmann::json;

TEST(GgufWords, EveryNameIsFoundAgain) {
  for (const char* name : {"gpt-2", "llama-bpe", "qwen2", "smollm"}) {
    const GgufWords* words = find_gguf_words(name);
    ASSERT_NE(words, nullptr) << name;
    EXPECT_EQ(find_gguf_words(words->pre_tokenizer(), words->ignore_merges), words) << name;
  }
  EXPECT_EQ(find_gguf_words("unheard-of"), nullptr);
}

// Fields of files may be of any type.
TEST(GgufWords, WhatIsNoTextHasNoName) {
  const Json good = find_gguf_words("qwen2")->pre_tokenizer();
  for (const Json& wrong : {Json(1), Json(nullptr), Json::array(), Json::object(), Json(true)}) {
    EXPECT_EQ(find_gguf_words(wrong, false), nullptr) << wrong;
    for (const char* path : {"/type", "/pretokenizers", "/pretokenizers/0", "/pretokenizers/0/type",
                             "/pretokenizers/0/behavior", "/pretokenizers/0/pattern",
                             "/pretokenizers/0/pattern/Regex", "/pretokenizers/1/type"}) {
      Json changed = good;
      changed[Json::json_pointer(path)] = wrong;
      EXPECT_EQ(find_gguf_words(changed, false), nullptr) << changed;
    }
  }
}

}  // namespace
}  // namespace bitsmith::text
