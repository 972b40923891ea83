// For tests beside llama.cpp itself: its tokens and its most likely continuations.
//
// Needs node and a folder with node_modules/node-llama-cpp, named by BITSMITH_LLAMA_CPP:
//     npm install --ignore-scripts --prefix FOLDER node-llama-cpp
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "core/output_file.h"
#include "core/testing.h"
#include "runtime/executor.h"

namespace bitsmith::testing {

// The answers of tests/llama_cpp/generate.mjs; nothing if it cannot run here.
inline std::optional<std::vector<nlohmann::json>> ask_llama_cpp(
    const std::vector<nlohmann::json>& requests, const TemporaryFolder& folder) {
  const char* package = std::getenv("BITSMITH_LLAMA_CPP");
  if (package == nullptr) return std::nullopt;
  std::string lines;
  for (const nlohmann::json& request : requests) lines += request.dump() + "\n";
  write_bytes(folder / "requests", lines);
  const std::string command = fmt::format(
      "node '{}' '{}' < '{}' > '{}'", (source_folder() / "tests/llama_cpp/generate.mjs").string(),
      package, (folder / "requests").string(), (folder / "answers").string());
  if (std::system(command.c_str()) != 0) return std::nullopt;
  std::vector<nlohmann::json> answers;
  std::istringstream text(read_bytes(folder / "answers"));
  for (std::string line; std::getline(text, line);) answers.push_back(nlohmann::json::parse(line));
  return answers;
}

// Each token of llama.cpp's continuation must be the one with our largest logit, given all before
// it. Where it is not, the two logits must be as close as rounding may bring them: both engines
// round activations to 8 bits, in other blocks, which moves these logits by some hundredths. Says
// how often that was, and how far apart.
inline void expect_most_likely(const Model& model, std::vector<TokenId> prompt,
                               const std::vector<TokenId>& generated, ThreadPool& pool) {
  constexpr float kRounding = 0.1F;
  Executor executor(model, pool, 64);
  Sequence sequence = executor.make_sequence();
  int different = 0;
  float widest = 0;
  for (const TokenId token : generated) {
    const auto logits = executor.run(sequence, prompt, Executor::Logits::kLast);
    const float gap = *std::ranges::max_element(logits) - logits[static_cast<size_t>(token)];
    different += gap > 0 ? 1 : 0;
    widest = std::max(widest, gap);
    EXPECT_LE(gap, kRounding) << "token " << token;
    prompt = {token};
  }
  if (different == 0) return;
  std::cout << fmt::format(
      "{} of {} tokens differ, where our two logits are at most {:.4f} apart\n", different,
      generated.size(), widest);
}

}  // namespace bitsmith::testing
