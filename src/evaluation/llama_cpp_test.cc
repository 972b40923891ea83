// Exported GGUF files in llama.cpp itself: the same tokens of a text, the same continuation.
#include "codecs/codec_testing.h"
#include "evaluation/llama_cpp_testing.h"
#include "families/families_testing.h"
#include "formats/gguf_export.h"
#include "formats/random_folder_testing.h"

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

// Random weights of each Gemma, with its tokenizer's rules for spaces, in windows shorter than the
// text and caps that are felt. llama.cpp looks gelu up in a table of binary16, and rounds what Q8_0
// is multiplied with to 8 bits, which seven layers without training pass on.
TEST(LlamaCpp, RunsGemmasAsWeDo) {
  if (!testing::llama_cpp_is_there()) GTEST_SKIP() << testing::kNoLlamaCpp;
  const testing::TemporaryFolder folder;
  ThreadPool pool;
  const std::vector<std::string> texts = {
      "The captain  looked at the sea and said:\n\n\n   \"No!\"   to   himself", "  a",
      "Fran\u00e7ois \u2014 42 \u03b1\t<start_of_turn>user\n"};
  for (const std::string family : {"gemma", "gemma2", "gemma3_text"}) {
    SCOPED_TRACE(family);
    const std::filesystem::path source = folder / family;
    const int64_t vocabulary = testing::write_gemma_tokenizer(source);
    json config = {{"model_type", family},     {"vocab_size", vocabulary},
                   {"hidden_size", 256},       {"intermediate_size", 256},
                   {"num_hidden_layers", 7},   {"num_attention_heads", 4},
                   {"num_key_value_heads", 2}, {"rms_norm_eps", 1e-6},
                   {"rope_theta", 10000.0},    {"max_position_embeddings", 256}};
    config.update(testing::gemma_fields(family));
    config["head_dim"] = 48;
    if (family != "gemma") config["query_pre_attn_scalar"] = 48;
    if (family != "gemma") config.erase("sliding_window_pattern");
    if (family == "gemma2") config["final_logit_softcapping"] = 8;
    testing::write_random_folder(source, config);
    const Model original = open_model(source);
    const auto tokenizer = make_tokenizer(original.tokenizer_files);
    const std::vector<TokenId> prompt = tokenizer->encode(texts.front(), true);
    EXPECT_EQ(prompt.front(), tokenizer->bos());

    const std::vector<std::string> codecs = {"f32", "q8_0"};
    std::vector<json> requests;
    for (const std::string& codec : codecs) {
      export_as(original, codec, folder / (family + codec + ".gguf"), pool);
      requests.push_back({{"model", (folder / (family + codec + ".gguf")).string()},
                          {"texts", texts},
                          {"prompt", prompt},
                          {"count", kTokens},
                          {"likely", 100}});
    }
    const auto answers = testing::ask_llama_cpp(requests, folder);
    ASSERT_EQ(answers.size(), codecs.size());
    for (size_t i = 0; i < codecs.size(); ++i) {
      for (size_t t = 0; t < texts.size(); ++t) {
        EXPECT_EQ(answers[i]["tokens"][t].get<std::vector<TokenId>>(),
                  tokenizer->encode(texts[t], false))
            << texts[t];
      }
      const Model coded = open_model(folder / (family + codecs[i] + ".gguf"));
      const double difference =
          testing::largest_difference(coded, prompt, answers[i]["likely"], pool);
      std::cout << fmt::format("{} {}: probabilities differ by {:.5f} nats at most\n", family,
                               codecs[i], difference);
      EXPECT_LT(difference, codecs[i] == "f32" ? 0.02 : 0.5);
      const auto generated = answers[i]["generated"].get<std::vector<TokenId>>();
      EXPECT_GT(generated.size(), 0U);
      // With Q8_0 both round what they multiply, each in its own way.
      testing::expect_most_likely(coded, prompt, generated, codecs[i] == "f32" ? 0.02F : 0.04F,
                                  pool);
    }
  }
}

}  // namespace
}  // namespace bitsmith
