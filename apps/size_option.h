// Sizes and ranges as people write them on a command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bitsmith {

// "180MB", "1.5GB" (powers of 1000), "512MiB", "4GiB" (powers of 1024), "4096" or "4096B". Throws
// kInvalidArgument naming `option`.
uint64_t parse_size(const std::string& text, const std::string& option);

// "2..6", "2..6:0.5" (step), "2,2.5,3": a list of numbers. Throws kInvalidArgument.
std::vector<double> parse_numbers(const std::string& text, const std::string& option);

}  // namespace bitsmith
