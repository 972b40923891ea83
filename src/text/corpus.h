// Text files, as text and as tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace bitsmith {

// The bytes of a plain text file of at most `max_bytes`. Compressed files (xz, gzip, zstd, bzip2)
// are refused by name: decompress them first; so are bytes that are not UTF-8, by their offset.
std::string read_text(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{1} << 30);

// The whole file as one text. add_special: as in Tokenizer::encode.
std::vector<TokenId> tokenize_file(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                   bool add_special = false);

}  // namespace bitsmith
