// SentencePiece models: ids and texts against those of Google's library, made by
// tests/vectors/text/make_sentencepiece_vectors.cc; hostile model files.
#include <gtest/gtest.h>

#include "core/error.h"
#include "text/sentencepiece_file.h"
#include "text/test_data.h"
#include "text/unicode.h"

namespace bitsmith::text {
namespace {

using Json = nlohmann::json;

// No special token is matched in texts: the library alone does not do that.
constexpr const char* kBareConfig =
    R"({"add_bos_token": false, "bos_token": null, "eos_token": null})";

std::string model_bytes(const std::string& name) {
  return read_bytes(vectors_folder() / ("sentencepiece_" + name + ".model"));
}

std::unique_ptr<Tokenizer> from_model(const std::string& model,
                                      const std::string& config = kBareConfig) {
  return make_tokenizer({{"tokenizer.model", model}, {"tokenizer_config.json", config}});
}

// The library shows the unknown piece as " U+2047 ", bitsmith leaves it out: such texts are not
// compared.
bool has_unknown(const std::string& text) { return text.find("\xE2\x81\x87") != std::string::npos; }

// Returns the number of texts whose ids agree.
size_t expect_vectors(const Tokenizer& tokenizer, const Json& expected) {
  size_t agreed = 0, index = 0;
  for (const std::string& text : vector_texts()) {
    if (repair_utf8(text) != text) continue;
    const auto ids = expected.at("ids").at(index).get<std::vector<TokenId>>();
    const auto decoded = expected.at("decoded").value(std::to_string(index), text);
    ++index;
    const std::vector<TokenId> got = tokenizer.encode(text, true);
    EXPECT_EQ(got, ids) << "text " << Json(text);
    agreed += got == ids;
    if (has_unknown(decoded)) continue;
    EXPECT_EQ(tokenizer.decode(ids), decoded) << "text " << Json(text);
    EXPECT_EQ(stream_all(tokenizer, ids), decoded) << "text " << Json(text);
  }
  EXPECT_EQ(index, expected.at("ids").size());
  for (const Json& sequence : expected.at("random")) {
    const auto ids = sequence.at("ids").get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.decode(ids), sequence.at("text").get<std::string>()) << sequence;
    EXPECT_EQ(stream_all(tokenizer, ids), sequence.at("text").get<std::string>());
  }
  return agreed;
}

TEST(SentencePiece, SmallModelsOfEveryKind) {
  const Json all = Json::parse(read_bytes(vectors_folder() / "sentencepiece.json"));
  ASSERT_EQ(all.size(), 4u);
  for (const auto& [name, expected] : all.items()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(expect_vectors(*from_model(model_bytes(name)), expected), expected.at("ids").size());
  }
}

TEST(SentencePiece, Classics) {
  const auto folder = shared_data("llm/classics-7m");
  if (folder.empty()) GTEST_SKIP() << "llm/classics-7m is not there";
  const Json expected = Json::parse(read_bytes(vectors_folder() / "classics.json"));
  const auto tokenizer = from_model(read_bytes(folder / "tokenizer.model"));
  EXPECT_EQ(expect_vectors(*tokenizer, expected), expected.at("ids").size());
}

TEST(SentencePiece, BosAndEosAsTheConfigAsks) {
  const std::string model = model_bytes("bpe_bytes");
  const std::vector<TokenId> plain = from_model(model)->encode("the sea", false);
  const auto with = [&](const std::string& config) {
    return from_model(model, config)->encode("the sea", true);
  };
  std::vector<TokenId> bos = plain, both;
  bos.insert(bos.begin(), 1);
  both = bos;
  both.push_back(2);
  EXPECT_EQ(with(""), bos);
  EXPECT_EQ(with(R"({"add_bos_token": true})"), bos);
  EXPECT_EQ(with(R"({"add_bos_token": false})"), plain);
  EXPECT_EQ(with(R"({"add_eos_token": true})"), both);
  const auto tokenizer = from_model(model, "");
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), (std::vector<TokenId>{2, 3}));  // and <|end|>, which ends a turn
  EXPECT_EQ(tokenizer->decode(both), "the sea");
}

TEST(SentencePiece, SpecialTokensInTheText) {
  const std::string model = model_bytes("bpe_bytes");
  const auto plain = from_model(model);
  const TokenId extra = static_cast<TokenId>(plain->vocab_size());
  const std::string tokens = R"("eos_token": "</s>", "added_tokens_decoder": {")" +
                             std::to_string(extra) + R"(": {"content": "<pad>", "special": true}})";
  const auto legacy = from_model(model, "{" + tokens + "}");
  const auto modern = from_model(model, R"({"legacy": false, )" + tokens + "}");
  EXPECT_EQ(legacy->vocab_size(), extra + 1);
  EXPECT_EQ(legacy->piece(extra), "<pad>");

  // "ship</s>ship": the older behaviour puts a space before the second text, too.
  const std::vector<TokenId> first = plain->encode("ship", false);
  std::vector<TokenId> expected = first;
  expected.push_back(2);
  expected.insert(expected.end(), first.begin(), first.end());
  EXPECT_EQ(legacy->encode("ship</s>ship", false), expected);
  EXPECT_EQ(modern->decode(modern->encode("ship</s>ship", false)), "shipship");
  EXPECT_EQ(legacy->decode(legacy->encode("ship</s>ship", false)), "ship ship");
  EXPECT_EQ(legacy->encode("<pad></s>", false), (std::vector<TokenId>{extra, 2}));
}

TEST(SentencePiece, ShiftedIdsAreRefused) {
  EXPECT_THROW(
      from_model(model_bytes("unigram"), R"({"added_tokens_decoder": {"0": {"content": "<s>"}}})"),
      Error);
}

TEST(SentencePiece, EveryPrefixAndManyFlipsOfAModel) {
  for (const std::string& name : {std::string("bpe_unknown"), std::string("unigram_bytes")}) {
    const std::string model = model_bytes(name);
    size_t loaded = 0;
    const auto attempt = [&](const std::string& bytes) {
      try {
        const auto tokenizer = from_model(bytes);
        const auto ids = tokenizer->encode("a \xFF the caf\xC3\xA9 <s>\n", true);
        tokenizer->decode(ids);
        ++loaded;
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      }
    };
    for (size_t size = 0; size < model.size(); size += 1 + size / 64)
      attempt(model.substr(0, size));
    uint32_t state = 1;
    for (int i = 0; i < 400; ++i) {
      std::string bytes = model;
      state = state * 1664525u + 1013904223u;
      bytes[(state >> 8) % bytes.size()] ^= static_cast<char>(1u << (state % 8));
      attempt(bytes);
    }
    EXPECT_GT(loaded, 0u);
  }
}

TEST(SentencePiece, FieldsOfTheFile) {
  const SentencePieceFile file = read_sentencepiece_file(model_bytes("bpe_bytes"));
  EXPECT_EQ(file.algorithm, SentencePieceFile::Algorithm::kBpe);
  EXPECT_TRUE(file.byte_fallback);
  EXPECT_TRUE(file.add_dummy_prefix);
  EXPECT_FALSE(file.remove_extra_whitespaces);
  EXPECT_TRUE(file.charsmap.empty());
  EXPECT_EQ(file.pieces[0].type, PieceType::kUnknown);
  EXPECT_EQ(file.pieces[1].text, "<s>");
  EXPECT_EQ(file.pieces[1].type, PieceType::kControl);
  EXPECT_FALSE(read_sentencepiece_file(model_bytes("unigram")).charsmap.empty());
}

}  // namespace
}  // namespace bitsmith::text
