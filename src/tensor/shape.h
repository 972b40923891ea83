// Shapes and overflow-checked sizes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace bitsmith {

// Extents, outermost first (row-major). In a graph an extent below zero is a symbol: kBatch, kTime.
using Shape = std::vector<int64_t>;

inline constexpr int64_t kBatch = -1;  // number of sequences or images
inline constexpr int64_t kTime = -2;   // number of positions in a sequence

// The product, or nullopt if an extent is negative or the product does not fit int64_t.
std::optional<int64_t> element_count(std::span<const int64_t> shape);

// a * b, a + b, or nullopt on overflow; for sizes that come from files.
std::optional<uint64_t> checked_multiply(uint64_t a, uint64_t b);
std::optional<uint64_t> checked_add(uint64_t a, uint64_t b);

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::string to_string(std::span<const int64_t> shape);  // "[B, T, 256]"

}  // namespace bitsmith
