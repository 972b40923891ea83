// A tensor's bytes as entropy-coded streams of symbols: how it may lie in a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "codecs/codec.h"
#include "core/thread_pool.h"
#include "encoding/entropy_coder.h"

namespace bitsmith {

// No tensor is stored in fewer than 1 / kLargestExpansion of its bytes, so that the size of a
// file bounds the memory that it can ask for.
inline constexpr uint64_t kLargestExpansion = 1024;

// The streams of symbols of the tensor's codec (Codec::symbol_streams), each coded by `coder`:
//
//     u64 size of each stream | streams (see symbol_blocks.h) | zero bytes up to the smallest size
//
// Lossless for any bytes of the tensor. The same bytes for any number of threads. O(size of the
// result) memory.
std::vector<std::byte> encode_storage(const CodedTensor& tensor, const EntropyCoder& coder,
                                      ThreadPool& pool);

// The inverse: writes all of `bytes`, which has the size that the tensor's codec says and is zero.
//   tensor: shape and scheme count, its bytes do not
// `stored` may be hostile: kCorrupt. Nothing of its size is allocated but a block for each thread.
void decode_storage(const CodedTensor& tensor, std::span<const std::byte> stored,
                    const EntropyCoder& coder, ThreadPool& pool, std::span<std::byte> bytes);

}  // namespace bitsmith
