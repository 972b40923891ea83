// Text files as token sequences, and the windows that models are calibrated and evaluated on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace bitsmith {

// The bytes of a plain text file of at most `max_bytes`. Compressed files (xz, gzip, zstd, bzip2)
// are refused by name: decompress them first.
std::string read_text(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{1} << 30);

// The whole file as one text. add_special: as in Tokenizer::encode.
std::vector<TokenId> tokenize_file(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                   bool add_special = false);

// Cuts tokens into windows of `length` that do not overlap; a view, the tokens must outlive it.
//
// Reference perplexities are usually measured so: each window is a text of its own and its first
// token, which has no context, is not scored. The figures of classics-7m count full windows only.
class Windows {
 public:
  // What happens to a last window shorter than `length`.
  enum class Last { kKeep, kDrop };

  // Fails when length < 2: no token of a window would be scored.
  Windows(std::span<const TokenId> tokens, int64_t length, Last last = Last::kKeep);

  int64_t size() const { return count_; }
  // [length], or fewer for a kept last window
  std::span<const TokenId> operator[](int64_t index) const;
  // Tokens in all windows but the first of each.
  int64_t scored_tokens() const;

 private:
  std::span<const TokenId> tokens_;
  int64_t length_, count_;
};

}  // namespace bitsmith
