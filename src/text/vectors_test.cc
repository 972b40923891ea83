// Token ids and texts against those of the Hugging Face tokenizers library, made by
// tests/vectors/text/make_vectors.mjs.
#include <gtest/gtest.h>

#include "text/test_data.h"
#include "text/unicode.h"

namespace bitsmith::text {
namespace {

using Json = nlohmann::json;

// The tokenizer.json of one entry: its "model" names one of the shared models and a changed option.
TokenizerFiles files_of(Json json, const Json& models) {
  std::string name = json.at("model").get<std::string>().substr(1);
  std::string option;
  if (const size_t space = name.find(' '); space != std::string::npos) {
    option = name.substr(space + 1);
    name.resize(space);
  }
  json["model"] = models.at(name);
  if (option == "ignore_merges") json["model"]["ignore_merges"] = true;
  if (option == "not_fused") json["model"]["fuse_unk"] = false;
  return {{"tokenizer.json", json.dump()}};
}

// "ids" are lists, or numbers of lists in `pool`. Returns the number of texts that agree.
size_t expect_vectors(const Tokenizer& tokenizer, const Json& expected, const Json& pool) {
  const std::vector<std::string> texts = vector_texts();
  EXPECT_EQ(texts.size(), expected.at("ids").size());
  size_t agreed = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const Json& list = expected.at("ids").at(i);
    const auto ids =
        (list.is_array() ? list : pool.at(list.get<size_t>())).get<std::vector<TokenId>>();
    std::vector<TokenId> special = expected.at("special_prefix").get<std::vector<TokenId>>();
    const auto suffix = expected.at("special_suffix").get<std::vector<TokenId>>();
    special.insert(special.end(), ids.begin(), ids.end());
    special.insert(special.end(), suffix.begin(), suffix.end());
    const std::string text = expected.at("decoded").value(std::to_string(i), repair_utf8(texts[i]));

    const std::vector<TokenId> got = tokenizer.encode(texts[i], false);
    EXPECT_EQ(got, ids) << "text " << i << ": " << Json(repair_utf8(texts[i]));
    EXPECT_EQ(tokenizer.encode(texts[i], true), special) << "text " << i;
    EXPECT_EQ(tokenizer.decode(special), text) << "text " << i;
    EXPECT_EQ(stream_all(tokenizer, special), text) << "text " << i;
    agreed += got == ids && tokenizer.decode(special) == text;
  }
  return agreed;
}

TEST(Vectors, SmallTokenizersOfEveryKind) {
  const Json json = Json::parse(read_bytes(vectors_folder() / "tokenizers.json"));
  ASSERT_EQ(json.at("tokenizers").size(), 14u);
  for (const auto& [name, entry] : json.at("tokenizers").items()) {
    SCOPED_TRACE(name);
    const auto tokenizer = make_tokenizer(files_of(entry.at("json"), json.at("models")));
    EXPECT_EQ(expect_vectors(*tokenizer, entry.at("expected"), json.at("id_lists")),
              vector_texts().size());
  }
}

TEST(Vectors, Tinystories) {
  const auto folder = shared_data("llm/tinystories-656k");
  if (folder.empty()) GTEST_SKIP() << "llm/tinystories-656k is not there";
  const auto tokenizer = make_tokenizer(read_tokenizer_files(folder));
  const Json expected = Json::parse(read_bytes(vectors_folder() / "tinystories.json"));
  EXPECT_EQ(expect_vectors(*tokenizer, expected, {}), vector_texts().size());
}

}  // namespace
}  // namespace bitsmith::text
