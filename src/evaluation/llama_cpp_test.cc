// Exported GGUF files in llama.cpp itself: the same tokens of a text, the same continuation.
//
// Needs node and a folder with node_modules/node-llama-cpp, named by BITSMITH_LLAMA_CPP:
//     npm install --ignore-scripts --prefix FOLDER node-llama-cpp
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "codecs/codec_testing.h"
#include "core/output_file.h"
#include "core/testing.h"
#include "formats/gguf_export.h"
#include "runtime/executor.h"

namespace bitsmith {
namespace {

using nlohmann::json;

constexpr int64_t kTokens = 64;

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

std::vector<TokenId> most_likely(const Model& model, const std::vector<TokenId>& prompt,
                                 ThreadPool& pool) {
  Executor executor(model, pool, 64);
  Sequence sequence = executor.make_sequence();
  std::vector<TokenId> generated;
  std::span<const float> logits = executor.run(sequence, prompt, Executor::Logits::kLast);
  while (static_cast<int64_t>(generated.size()) < kTokens) {
    const auto token = static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
    generated.push_back(token);
    logits = executor.run(sequence, {&token, 1}, Executor::Logits::kLast);
  }
  return generated;
}

// The answers of tests/llama_cpp/generate.mjs; nothing if it cannot run here.
std::optional<std::vector<json>> ask_llama_cpp(const std::vector<json>& requests,
                                               const testing::TemporaryFolder& folder) {
  const char* package = std::getenv("BITSMITH_LLAMA_CPP");
  if (package == nullptr) return std::nullopt;
  std::string lines;
  for (const json& request : requests) lines += request.dump() + "\n";
  testing::write_bytes(folder / "requests", lines);
  const std::string command =
      fmt::format("node '{}' '{}' < '{}' > '{}'",
                  (testing::source_folder() / "tests/llama_cpp/generate.mjs").string(), package,
                  (folder / "requests").string(), (folder / "answers").string());
  if (std::system(command.c_str()) != 0) return std::nullopt;
  std::vector<json> answers;
  std::istringstream text(testing::read_bytes(folder / "answers"));
  for (std::string line; std::getline(text, line);) answers.push_back(json::parse(line));
  return answers;
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
  const auto answers = ask_llama_cpp(requests, folder);
  if (!answers) GTEST_SKIP() << "node-llama-cpp is not there (BITSMITH_LLAMA_CPP)";
  ASSERT_EQ(answers->size(), codecs.size());
  for (size_t i = 0; i < codecs.size(); ++i) {
    SCOPED_TRACE(codecs[i]);
    const json& answer = (*answers)[i];
    for (size_t t = 0; t < texts.size(); ++t) {
      EXPECT_EQ(answer["tokens"][t].get<std::vector<TokenId>>(), tokenizer->encode(texts[t], false))
          << texts[t];
    }
    const Model coded = open_model(folder / (codecs[i] + ".gguf"));
    EXPECT_EQ(answer["generated"].get<std::vector<TokenId>>(), most_likely(coded, prompt, pool));
  }
}

TEST(LlamaCpp, ContinuesClassicsAsWeDo) {
  const auto folder = testing::shared_data("llm/classics-7m");
  if (folder.empty()) GTEST_SKIP() << "llm/classics-7m is not there (BITSMITH_DATA)";
  expect_agreement(open_model(folder), {"f32", "f16", "q8_0", "q4_k"},
                   {"The captain looked at the sea and", "It was - no doubt! - \"odd\".",
                    "Fran\u00e7ois \u2014 42 \u03b1"});
}

TEST(LlamaCpp, ContinuesTinystoriesAsWeDo) {
  const auto folder = testing::shared_data("llm/tinystories-656k");
  if (folder.empty()) GTEST_SKIP() << "llm/tinystories-656k is not there (BITSMITH_DATA)";
  expect_agreement(open_model(folder), {"f16", "q8_0"},
                   {"Once upon a time, there was a little girl named", "said Tom. \"Yes!\""});
}

}  // namespace
}  // namespace bitsmith
