// Exported GGUF files in llama.cpp itself: the same tokens of a text, the same continuation.
#include "codecs/codec_testing.h"
#include "evaluation/llama_cpp_testing.h"
#include "formats/gguf_export.h"

namespace bitsmith {
namespace {

using nlohmann::json;

constexpr int64_t kTokens = 64;
// Of logits: llama.cpp rounds what Q4_K is multiplied with to 8 bits, in blocks of 256.
constexpr float kRounding = 0.1F;

void export_as(const Model& model, const std::string& codec, const std::filesystem::path& path,
               ThreadPool& pool) {
  GgufExport options;
  options.codec = codec;
  options.encode = [&](const CodedTensor& tensor, const Scheme& scheme) {
    return testing::encode(scheme, tensor.matrix(), tensor.decode_all(), pool,
                           FitOptions{.search_steps = 8})
        .bytes;
  };
  export_gguf(path, model, options);
}

void expect_agreement(const Model& original, const std::vector<std::string>& codecs,
                      const std::vector<std::string>& texts) {
  const testing::TemporaryFolder folder;
  ThreadPool pool;
  const auto tokenizer = make_tokenizer(original.tokenizer_files);
  std::vector<TokenId> prompt = tokenizer->encode(texts.front(), false);
  std::vector<json> requests;
  for (const std::string& codec : codecs) {
    export_as(original, codec, folder / (codec + ".gguf"), pool);
    requests.push_back({{"model", (folder / (codec + ".gguf")).string()},
                        {"texts", texts},
                        {"prompt", prompt},
                        {"count", kTokens}});
  }
  const auto answers = testing::ask_llama_cpp(requests, folder);
  ASSERT_EQ(answers.size(), codecs.size());
  for (size_t i = 0; i < codecs.size(); ++i) {
    SCOPED_TRACE(codecs[i]);
    const json& answer = answers[i];
    for (size_t t = 0; t < texts.size(); ++t) {
      EXPECT_EQ(answer["tokens"][t].get<std::vector<TokenId>>(), tokenizer->encode(texts[t], false))
          << texts[t];
    }
    const Model coded = open_model(folder / (codecs[i] + ".gguf"));
    const auto generated = answer["generated"].get<std::vector<TokenId>>();
    EXPECT_EQ(static_cast<int64_t>(generated.size()), kTokens);
    testing::expect_most_likely(coded, prompt, generated, codecs[i] == "q4_k" ? kRounding : 0,
                                pool);
  }
}

TEST(LlamaCpp, ContinuesClassicsAsWeDo) {
  if (!testing::llama_cpp_is_there()) GTEST_SKIP() << testing::kNoLlamaCpp;
  const auto folder = testing::shared_data("llm/classics-7m");
  if (folder.empty()) GTEST_SKIP() << "llm/classics-7m is not there (BITSMITH_DATA)";
  expect_agreement(open_model(folder), {"f32", "f16", "q8_0", "q4_k"},
                   {"The captain looked at the sea and", "It was - no doubt! - \"odd\".",
                    "Fran\u00e7ois \u2014 42 \u03b1"});
}

TEST(LlamaCpp, ContinuesTinystoriesAsWeDo) {
  if (!testing::llama_cpp_is_there()) GTEST_SKIP() << testing::kNoLlamaCpp;
  const auto folder = testing::shared_data("llm/tinystories-656k");
  if (folder.empty()) GTEST_SKIP() << "llm/tinystories-656k is not there (BITSMITH_DATA)";
  expect_agreement(open_model(folder), {"f16", "q8_0"},
                   {"Once upon a time, there was a little girl named", "said Tom. \"Yes!\""});
}

}  // namespace
}  // namespace bitsmith
