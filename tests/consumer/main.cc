// Uses bitsmith as a library: opens a model and continues a text by its likeliest tokens.
//   consumer MODEL PROMPT
#include <algorithm>
#include <cstdio>

#include "core/error.h"
#include "formats/model.h"
#include "runtime/executor.h"

int main(int argc, char** argv) try {
  if (argc != 3) return 2;
  const bitsmith::Model model = bitsmith::open_model(argv[1]);
  const auto tokenizer = bitsmith::make_tokenizer(model.tokenizer_files);
  std::vector<bitsmith::TokenId> tokens = tokenizer->encode(argv[2], true);
  bitsmith::ThreadPool pool(2);
  bitsmith::Executor executor(model, pool, 64);
  bitsmith::Sequence sequence = executor.make_sequence();
  size_t read = 0;
  for (int i = 0; i < 8; ++i) {
    const auto logits =
        executor.run(sequence, std::span(tokens).subspan(read), bitsmith::Executor::Logits::kLast);
    read = tokens.size();
    tokens.push_back(
        static_cast<bitsmith::TokenId>(std::ranges::max_element(logits) - logits.begin()));
  }
  std::puts(tokenizer->decode(tokens).c_str());
  return 0;
} catch (const bitsmith::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return error.exit_code();
}
