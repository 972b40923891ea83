// Files of compress --to gguf in llama.cpp itself.
#include "evaluation/llama_cpp_testing.h"
#include "formats/model_tokenizer.h"
#include "pipeline/compress.h"

namespace bitsmith {
namespace {

using nlohmann::json;

constexpr int64_t kTokens = 64;

TEST(LlamaCppCompress, ContinuesACompressedModelAsWeDo) {
  if (!testing::llama_cpp_is_there()) GTEST_SKIP() << testing::kNoLlamaCpp;
  const testing::TemporaryFolder folder;
  CompressRequest request;
  request.model = testing::source_folder() / "models/classics-7m";
  request.output = folder / "small.gguf";
  request.format = "gguf";
  request.recipe = "gguf-mix";
  request.overrides = {"calibrate.sequences=8", "calibrate.length=128"};
  request.budget.bits = 4;
  SilentProgress silent;
  compress(request, silent);

  const Model small = open_model(request.output);
  const auto prompt = tokenizer_of(small)->encode("The captain looked at the sea and", false);
  const json question = {{"model", request.output.string()},
                         {"texts", json::array()},
                         {"prompt", prompt},
                         {"count", kTokens}};
  const auto answers = testing::ask_llama_cpp({question}, folder);
  ASSERT_EQ(answers.size(), 1U);
  const auto generated = answers[0]["generated"].get<std::vector<TokenId>>();
  EXPECT_EQ(static_cast<int64_t>(generated.size()), kTokens);
  ThreadPool pool;
  testing::expect_most_likely(small, prompt, generated, 0.1F, pool);
}

}  // namespace
}  // namespace bitsmith
