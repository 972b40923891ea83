// Small handmade tokenizers: flags, defaults, streaming, and files that cannot be used.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "core/error.h"
#include "text/test_data.h"

namespace bitsmith::text {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

// "low", "lower" and "er" from letters, with byte pieces for 0xC3 and 0xA9 (é).
Json small_bpe() {
  return Json::parse(R"({
    "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true,
      "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "<0xC3>": 3, "<0xA9>": 4, "l": 5, "o": 6, "w": 7,
                "e": 8, "r": 9, "lo": 10, "low": 11, "er": 12, "lower": 13, "▁": 14, "▁low": 15},
      "merges": ["l o", "lo w", "e r", "low er", "▁ low"]},
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true},
                     {"id": 1, "content": "<s>", "special": true},
                     {"id": 2, "content": "</s>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})");
}

std::unique_ptr<Tokenizer> make(const Json& json, const std::string& config = "") {
  TokenizerFiles files{{"tokenizer.json", json.dump()}};
  if (!config.empty()) files["tokenizer_config.json"] = config;
  return make_tokenizer(files);
}

// The message of the error that making a tokenizer throws.
std::string error_of(const Json& json) {
  try {
    make(json);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "";
}

TEST(Tokenizer, MergesByRank) {
  const auto tokenizer = make(small_bpe());
  EXPECT_EQ(tokenizer->encode("lower", false), (Ids{14, 13}));  // "low er" before "▁ low"
  EXPECT_EQ(tokenizer->encode("low low", false), (Ids{15, 15}));
}

TEST(Tokenizer, BytesAndUnknown) {
  const auto tokenizer = make(small_bpe());
  EXPECT_EQ(tokenizer->encode("é", false), (Ids{14, 3, 4}));
  EXPECT_EQ(tokenizer->encode("xyz", false), (Ids{14, 0}));  // fused
  EXPECT_EQ(tokenizer->decode(Ids{14, 3, 4}), "é");
  EXPECT_EQ(tokenizer->decode(Ids{14, 3, 5}), "\xEF\xBF\xBDl");
  EXPECT_EQ(tokenizer->encode("", true), Ids{});
}

TEST(Tokenizer, BosAndEosFromFileNamesOrConfig) {
  const auto plain = make(small_bpe());
  EXPECT_EQ(plain->bos(), 1);
  EXPECT_EQ(plain->eos(), Ids{2});
  EXPECT_EQ(plain->vocab_size(), 16);
  EXPECT_EQ(plain->piece(15), "▁low");
  EXPECT_EQ(plain->piece(999), "");
  EXPECT_EQ(plain->encode("low", true), Ids{15});
  const auto llama = make(small_bpe(), R"({"tokenizer_class": "LlamaTokenizerFast",
      "add_bos_token": true, "add_eos_token": true, "bos_token": {"content": "<s>"}})");
  EXPECT_EQ(llama->encode("low", true), (Ids{1, 15, 2}));
  EXPECT_EQ(llama->encode("low", false), Ids{15});
  const auto other = make(small_bpe(), R"({"tokenizer_class": "Other", "add_bos_token": true})");
  EXPECT_EQ(other->encode("low", true), Ids{15});
}

TEST(Tokenizer, DecodeSkipsWhatIsNotThere) {
  const auto tokenizer = make(small_bpe());
  EXPECT_EQ(tokenizer->decode(Ids{1, 15, -5, 100000, 2, 12}), "lower");
}

TEST(StreamDecoder, HoldsBackIncompleteCharacters) {
  const auto tokenizer = make(small_bpe());
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.next(14), "");
  EXPECT_EQ(decoder.next(15), " low");
  EXPECT_EQ(decoder.next(3), "");
  EXPECT_EQ(decoder.next(4), "é");
  EXPECT_EQ(decoder.next(3), "");
  EXPECT_EQ(decoder.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.next(15), "low");  // a new text
}

TEST(StreamDecoder, EqualsDecodeAndIsAlwaysValid) {
  const Json all = Json::parse(read_bytes(vectors_folder() / "tokenizers.json"));
  std::mt19937 random(3);
  for (const auto& [name, entry] : all.at("tokenizers").items()) {
    SCOPED_TRACE(name);
    Json json = entry.at("json");
    const auto model = json.at("model").get<std::string>();
    json["model"] = all.at("models").at(model.substr(1, model.find(' ') - 1));
    const auto tokenizer = make(json);
    for (int round = 0; round < 50; ++round) {
      Ids ids(1 + random() % 40);
      for (TokenId& id : ids) id = static_cast<TokenId>(random() % 300);
      const std::string text = tokenizer->decode(ids);
      EXPECT_EQ(text, repair_utf8(text));
      StreamDecoder decoder(*tokenizer);
      std::string streamed;
      for (const TokenId id : ids) {
        const std::string part = decoder.next(id);
        EXPECT_EQ(part, repair_utf8(part));
        streamed += part;
      }
      EXPECT_EQ(streamed + decoder.finish(), text);
    }
  }
}

TEST(TokenizerErrors, NoFiles) {
  EXPECT_THROW(make_tokenizer({}), Error);
  EXPECT_THROW(make_tokenizer({{"tokenizer.json", ""}}), Error);
  EXPECT_THROW(make_tokenizer({{"tokenizer.model", ""}}), Error);
  EXPECT_TRUE(read_tokenizer_files("/nonexistent").empty());
}

TEST(TokenizerErrors, NameWhatIsNotSupported) {
  Json json = small_bpe();
  json["model"]["type"] = "WordPiece";
  EXPECT_NE(error_of(json).find("WordPiece"), std::string::npos);
  json = small_bpe();
  json["pre_tokenizer"] = Json::parse(
      R"({"type": "Split", "pattern": {"Regex": "\\p{Han}+"}, "behavior": "Isolated"})");
  EXPECT_NE(error_of(json).find("p{Han}+"), std::string::npos);
  json["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  EXPECT_NE(error_of(json).find("BertPreTokenizer"), std::string::npos);
  json = small_bpe();
  json["normalizer"] = {{"type", "BertNormalizer"}};
  EXPECT_NE(error_of(json).find("BertNormalizer"), std::string::npos);
  json = small_bpe();
  json["decoder"] = {{"type", "CTC"}};
  EXPECT_NE(error_of(json).find("CTC"), std::string::npos);
  json = small_bpe();
  json["model"]["dropout"] = 0.1;
  EXPECT_NE(error_of(json).find("dropout"), std::string::npos);
}

// Each change of one place must give one line of text, never anything worse.
TEST(TokenizerErrors, WrongValues) {
  const std::pair<const char*, const char*> changes[] = {
      {"/model", "3"},
      {"/model/vocab", "[]"},
      {"/model/vocab/l", "-1"},
      {"/model/vocab/l", "\"5\""},
      {"/model/vocab/l", "6"},
      {"/model/vocab/l", "5.5"},
      {"/model/vocab/l", "99999999999999999999"},
      {"/model/vocab/l", "18446744073709551615"},
      {"/model/vocab/l", "4194304"},
      {"/model/merges", "{}"},
      {"/model/merges/0", "\"lo\""},
      {"/model/merges/0", "\"l o w\""},
      {"/model/merges/0", "[\"l\"]"},
      {"/model/merges/0", "[\"l\", 7]"},
      {"/model/merges/0", "\"l x\""},
      {"/model/byte_fallback", "1"},
      {"/model/unk_token", "1"},
      {"/added_tokens", "{}"},
      {"/added_tokens/0", "1"},
      {"/added_tokens/0/id", "-1"},
      {"/added_tokens/0/id", "1"},
      {"/added_tokens/0/id", "77"},
      {"/added_tokens/0/id", "4194304"},
      {"/added_tokens/0/content", "null"},
      {"/normalizer", "[]"},
      {"/normalizer/type", "null"},
      {"/normalizer/normalizers", "1"},
      {"/pre_tokenizer", "1"},
      {"/post_processor", "1"},
      {"/post_processor", R"({"type": "TemplateProcessing", "single": []})"},
      {"/post_processor",
       R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]})"},
      {"/post_processor", R"({"type": "RobertaProcessing", "cls": ["a", 999], "sep": ["b", 1]})"},
      {"/decoder", "1"},
      {"/decoder/decoders/3/start", "-1"},
      {"/decoder/decoders/3/start", "2"},
  };
  for (const auto& [pointer, value] : changes) {
    Json json = small_bpe();
    json[Json::json_pointer(pointer)] = Json::parse(value);
    EXPECT_NE(error_of(json), "") << pointer << " = " << value;
  }
}

TEST(TokenizerErrors, DeepNestingIsRefused) {
  std::string deep = R"({"type": "NFC"})";
  for (int i = 0; i < 100; ++i) deep = R"({"type": "Sequence", "normalizers": [)" + deep + "]}";
  Json json = small_bpe();
  json["normalizer"] = Json::parse(deep);
  EXPECT_NE(error_of(json), "");
  EXPECT_THROW(make_tokenizer({{"tokenizer.json", std::string(1000000, '[')}}), Error);
}

// A few hundred bytes of file must not be able to ask for terabytes.
TEST(TokenizerErrors, ExplodingReplacementsAreRefused) {
  const Json doubling =
      Json::parse(R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})");
  Json json = small_bpe();
  json["normalizer"]["normalizers"] = Json(40, doubling);
  EXPECT_NE(error_of(json).find("longer"), std::string::npos);
  json = small_bpe();
  json["decoder"]["decoders"] = Json(40, doubling);
  EXPECT_NE(error_of(json).find("longer"), std::string::npos);
  json = small_bpe();
  const Json byte_level = {{"type", "ByteLevel"}};
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json(2, byte_level)}};
  EXPECT_NE(error_of(json).find("ByteLevel"), std::string::npos);
}

// What is put before every word or part doubles a text if the result is cut and the step repeated.
TEST(TokenizerErrors, ExplodingPrefixesAreRefused) {
  Json steps = Json::array();
  for (const char* mark : {"X", "Y", "Z"}) {
    steps.push_back({{"type", "Metaspace"}, {"replacement", mark}, {"split", false}});
    steps.push_back({{"type", "Split"}, {"pattern", {{"String", mark}}}, {"behavior", "Isolated"}});
  }
  Json json = small_bpe();
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", steps}};
  EXPECT_NE(error_of(json).find("Metaspace twice"), std::string::npos);
  json = small_bpe();
  json["normalizer"] = {{"type", "Prepend"}, {"prepend", std::string(1000, 'x')}};
  EXPECT_NE(error_of(json).find("longer"), std::string::npos);
}

TEST(TokenizerErrors, EveryPrefixAndManyFlips) {
  const std::string good = small_bpe().dump();
  const auto attempt = [](const std::string& bytes) {
    try {
      const auto tokenizer = make_tokenizer({{"tokenizer.json", bytes}});
      tokenizer->decode(tokenizer->encode("a lower\xFF <s> é", true));
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  };
  for (size_t size = 0; size < good.size(); ++size) attempt(good.substr(0, size));
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = good;
    bytes[random() % bytes.size()] = static_cast<char>(random());
    attempt(bytes);
  }
}

}  // namespace
}  // namespace bitsmith::text
