#include "evaluation/windows.h"

#include "core/error.h"

namespace bitsmith {

int64_t Windows::tokens() const {
  int64_t count = 0;
  for (const auto& window : windows) count += static_cast<int64_t>(window.size());
  return count;
}

int64_t Windows::scored_tokens() const { return tokens() - static_cast<int64_t>(windows.size()); }

Windows cut_windows(const Tokenizer& tokenizer, std::string_view text, int64_t context,
                    int64_t max_tokens) {
  if (context < 2) {
    fail(ErrorCode::kInvalidArgument, "a window needs at least 2 tokens of context, not {}",
         context);
  }
  std::vector<TokenId> tokens = tokenizer.encode(text, false);
  if (max_tokens > 0 && static_cast<int64_t>(tokens.size()) > max_tokens) {
    tokens.resize(static_cast<size_t>(max_tokens));
  }
  if (tokens.size() < 2) {
    fail(ErrorCode::kInvalidArgument, "the text has {} tokens; measuring needs at least 2",
         tokens.size());
  }
  Windows result;
  const auto size = std::min(static_cast<size_t>(context), tokens.size());
  for (size_t begin = 0; begin + size <= tokens.size(); begin += size) {
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(begin);
    result.windows.emplace_back(first, first + static_cast<std::ptrdiff_t>(size));
    for (const TokenId id : result.windows.back()) {
      result.bytes += tokenizer.token_bytes(id, false).size();
    }
  }
  return result;
}

}  // namespace bitsmith
