// The order of columns in the bytes of the codec `ordered`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bitsmith {

// Which column of the tensor each column of the inner codec is. Of hostile bytes no permutation.
std::vector<uint32_t> column_order(int64_t cols, std::span<const std::byte> bytes);
void write_column_order(std::span<const uint32_t> order, std::span<std::byte> bytes);

// Those of the inner codec.
std::span<const std::byte> ordered_bytes(int64_t cols, std::span<const std::byte> bytes);

}  // namespace bitsmith
