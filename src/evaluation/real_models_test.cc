// Perplexities of real models against figures measured with an independent PyTorch implementation
// (../shared/data/MANIFEST.md and classics-7m/README.md).
#include <gtest/gtest.h>

#include "core/testing.h"
#include "evaluation/evaluate.h"
#include "text/corpus.h"

namespace bitsmith {
namespace {

struct Reference {
  const char* text;
  int64_t tokens;
  double nats;
  double perplexity;
  double bits_per_byte;
};

class RealModels : public ::testing::TestWithParam<Reference> {};

TEST_P(RealModels, ClassicsPerplexity) {
  const Reference& reference = GetParam();
  const auto folder = testing::shared_data("llm/classics-7m");
  const auto path = testing::shared_data(std::string("text/classics/") + reference.text);
  if (folder.empty() || path.empty()) GTEST_SKIP() << reference.text << " is not there";
  const Model model = open_model(folder);
  const auto tokenizer = make_tokenizer(model.tokenizer_files);
  const std::string text = read_text(path);
  const int64_t context = default_context(model);
  EXPECT_EQ(context, 256);
  ThreadPool pool;
  Executor executor(model, pool, evaluation_batch_tokens(model, context));
  SilentProgress progress;
  const Evaluation e =
      evaluate(executor, nullptr, cut_windows(*tokenizer, text, context), progress);
  EXPECT_EQ(e.model.tokens, reference.tokens);
  // Half a unit of the last digit given, and as much for the keys and values in binary16.
  EXPECT_NEAR(e.model.nats.value, reference.nats, 1e-5);
  EXPECT_NEAR(e.model.perplexity.value, reference.perplexity, 5e-4);
  EXPECT_NEAR(e.model.bits_per_byte, reference.bits_per_byte, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(
    Texts, RealModels,
    ::testing::Values(Reference{"treasure_island.txt", 107100, 3.89773, 49.2906, 1.6672},
                      Reference{"the_wonderful_wizard_of_oz.txt", 58395, 3.56314, 35.2737, 1.4652}),
    [](const auto& test) {
      return std::string(test.param.text, std::string_view(test.param.text).find('.'));
    });

}  // namespace
}  // namespace bitsmith
