// Real tokenizers over whole texts: token counts that the models' reference figures were measured
// with, and the vectors that come with vocabularies in GGUF files.
#include <gtest/gtest.h>

#include <sstream>

#include "text/corpus.h"
#include "text/test_data.h"
#include "text/unicode.h"

namespace bitsmith::text {
namespace {

using Json = nlohmann::json;

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

// The metadata of a GGUF file that vocabularies need, as JSON.
class GgufVocabulary {
 public:
  explicit GgufVocabulary(std::string bytes) : bytes_(std::move(bytes)) {
    at_ = 16;  // magic, version, number of tensors
    const auto entries = number<uint64_t>();
    for (uint64_t i = 0; i < entries; ++i) {
      const std::string key = text();
      metadata_[key] = value(number<uint32_t>());
    }
  }
  const Json& at(const std::string& key) const { return metadata_.at(key); }

 private:
  template <class T>
  T number() {
    T result;
    std::memcpy(&result, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return result;
  }
  std::string text() {
    const auto size = number<uint64_t>();
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  Json value(uint32_t type) {
    switch (type) {
      case 4:
        return number<uint32_t>();
      case 5:
        return number<int32_t>();
      case 6:
        return number<float>();
      case 7:
        return number<uint8_t>() != 0;
      case 8:
        return text();
      case 9: {
        const auto element = number<uint32_t>();
        const auto count = number<uint64_t>();
        Json list = Json::array();
        for (uint64_t i = 0; i < count; ++i) list.push_back(value(element));
        return list;
      }
      default:
        throw std::runtime_error("GGUF value type " + std::to_string(type));
    }
  }

  std::string bytes_;
  size_t at_ = 0;
  std::map<std::string, Json> metadata_;
};

// Texts are separated by a line, ids of each text are on one line.
size_t expect_gguf_vectors(const Tokenizer& tokenizer, const std::filesystem::path& gguf) {
  const std::string input = read_bytes(gguf.string() + ".inp") + "\n";
  std::istringstream output(read_bytes(gguf.string() + ".out"));
  constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
  size_t agreed = 0;
  std::string line;
  for (size_t at = 0; at < input.size() && std::getline(output, line);) {
    const size_t end = std::min(input.find(kSeparator, at), input.size());
    const std::string text = input.substr(at, end - at);
    at = end + kSeparator.size();
    std::vector<TokenId> expected;
    std::istringstream numbers(line);
    for (TokenId id; numbers >> id;) expected.push_back(id);
    const std::vector<TokenId> ids = tokenizer.encode(text, false);
    EXPECT_EQ(ids, expected) << "text " << Json(text);
    EXPECT_EQ(tokenizer.decode(expected), text);
    agreed += ids == expected;
  }
  return agreed;
}

std::string length_delimited(uint32_t field, const std::string& bytes) {
  std::string out(1, static_cast<char>(field << 3 | 2));
  size_t size = bytes.size();
  for (; size >= 0x80; size >>= 7) out.push_back(static_cast<char>(size | 0x80));
  out.push_back(static_cast<char>(size));
  return out + bytes;
}

TEST(GgufVocabularyVectors, LlamaSentencePiece) {
  const auto path = shared_data("llm/gguf-vocab/ggml-vocab-llama-spm.gguf");
  if (path.empty()) GTEST_SKIP() << "llm/gguf-vocab is not there";
  const GgufVocabulary gguf(read_bytes(path));
  // A SentencePiece model with the same pieces: text (1), score (2), type (3).
  std::string model;
  const Json& pieces = gguf.at("tokenizer.ggml.tokens");
  for (size_t id = 0; id < pieces.size(); ++id) {
    std::string piece = length_delimited(1, pieces[id].get<std::string>());
    const float score = gguf.at("tokenizer.ggml.scores")[id].get<float>();
    piece += "\x15" + std::string(reinterpret_cast<const char*>(&score), 4);
    piece += "\x18";
    piece.push_back(static_cast<char>(gguf.at("tokenizer.ggml.token_type")[id].get<int>()));
    model += length_delimited(1, piece);
  }
  model += length_delimited(2, std::string("\x18\x02\x98\x02\x01", 5));  // BPE, byte_fallback
  model += length_delimited(3, std::string("\x20\x00", 2));  // remove_extra_whitespaces: false
  const auto tokenizer = make_tokenizer({{"tokenizer.model", model}});
  EXPECT_EQ(tokenizer->vocab_size(), 32000);
  EXPECT_EQ(expect_gguf_vectors(*tokenizer, path), 46u);
}

TEST(GgufVocabularyVectors, Gpt2) {
  const auto path = shared_data("llm/gguf-vocab/ggml-vocab-gpt-2.gguf");
  if (path.empty()) GTEST_SKIP() << "llm/gguf-vocab is not there";
  const GgufVocabulary gguf(read_bytes(path));
  Json json = {{"decoder", {{"type", "ByteLevel"}}},
               {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
               {"model", {{"type", "BPE"}, {"merges", gguf.at("tokenizer.ggml.merges")}}}};
  const Json& pieces = gguf.at("tokenizer.ggml.tokens");
  for (size_t id = 0; id < pieces.size(); ++id) {
    json["model"]["vocab"][pieces[id].get<std::string>()] = id;
  }
  const auto tokenizer = make_tokenizer({{"tokenizer.json", json.dump()}});
  EXPECT_EQ(tokenizer->vocab_size(), 50257);
  EXPECT_EQ(expect_gguf_vectors(*tokenizer, path), 46u);
}

}  // namespace
}  // namespace bitsmith::text
