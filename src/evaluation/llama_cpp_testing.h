// For tests beside llama.cpp itself: its tokens and its most likely continuations.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "core/output_file.h"
#include "core/testing.h"
#include "runtime/executor.h"
#include "runtime/kernels/elementwise.h"

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

// Of the tokens that llama.cpp finds likely behind each token of a text (`likely` of its answer):
// the largest difference between its probability and ours, in nats.
inline double largest_difference(const Model& model, const std::vector<TokenId>& text,
                                 const nlohmann::json& likely, ThreadPool& pool) {
  Executor executor(model, pool, 64);
  Sequence sequence = executor.make_sequence();
  EXPECT_EQ(likely.size(), text.size());
  double largest = 0;
  for (size_t t = 0; t < std::min(text.size(), likely.size()); ++t) {
    const auto logits = executor.run(sequence, {&text[t], 1}, Executor::Logits::kLast);
    const double sum = log_sum_exp(logits.data(), static_cast<int64_t>(logits.size()));
    for (const auto& [token, probability] :
         likely[t].get<std::vector<std::pair<size_t, double>>>()) {
      const double ours = static_cast<double>(logits[token]) - sum;
      largest = std::max(largest, std::abs(ours - std::log(probability)));
    }
  }
  return largest;
}

}  // namespace bitsmith::testing
