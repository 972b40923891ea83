// For tests beside llama.cpp itself: its tokens and its most likely continuations.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "core/output_file.h"
#include "core/testing.h"
#include "runtime/executor.h"

namespace bitsmith::testing {

inline constexpr const char* kNoLlamaCpp = "llama.cpp is not there: make clients";

inline bool llama_cpp_is_there() {
  return std::filesystem::exists(source_folder() / "tests/node_modules/node-llama-cpp");
}

// The answers of tests/llama_cpp/generate.mjs.
inline std::vector<nlohmann::json> ask_llama_cpp(const std::vector<nlohmann::json>& requests,
                                                 const TemporaryFolder& folder) {
  std::string lines;
  for (const nlohmann::json& request : requests) lines += request.dump() + "\n";
  write_bytes(folder / "requests", lines);
  const std::string command = fmt::format(
      "node '{}' < '{}' > '{}'", (source_folder() / "tests/llama_cpp/generate.mjs").string(),
      (folder / "requests").string(), (folder / "answers").string());
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::vector<nlohmann::json> answers;
  std::istringstream text(read_bytes(folder / "answers"));
  for (std::string line; std::getline(text, line);) answers.push_back(nlohmann::json::parse(line));
  return answers;
}

// Each token of llama.cpp's continuation must be the one with our largest logit, given all before
// it, or one whose logit is `rounding` less at most. Says how often that was, and how far apart.
inline void expect_most_likely(const Model& model, std::vector<TokenId> prompt,
                               const std::vector<TokenId>& generated, float rounding,
                               ThreadPool& pool) {
  Executor executor(model, pool, 64);
  Sequence sequence = executor.make_sequence();
  int different = 0;
  float widest = 0;
  for (const TokenId token : generated) {
    const auto logits = executor.run(sequence, prompt, Executor::Logits::kLast);
    const float gap = *std::ranges::max_element(logits) - logits[static_cast<size_t>(token)];
    different += gap > 0 ? 1 : 0;
    widest = std::max(widest, gap);
    EXPECT_LE(gap, rounding) << "token " << token;
    prompt = {token};
  }
  if (different == 0) return;
  std::cout << fmt::format(
      "{} of {} tokens differ, where our two logits are at most {:.4f} apart\n", different,
      generated.size(), widest);
}

}  // namespace bitsmith::testing
