// A stream of symbols cut into blocks that are coded by themselves, on all threads.
#pragma once

#include <functional>

#include "core/thread_pool.h"
#include "encoding/byte_stream.h"
#include "encoding/entropy_coder.h"

namespace bitsmith {

inline constexpr int64_t kBlockSymbols = int64_t{1} << 20;

// Appends one block. `bits`: every symbol is below 2^bits, 1 to 8. At most kBlockSymbols.
//
//     u8 form
//     0  packed    the symbols, `bits` bits each, bit 0 of the first byte first, then zero bits
//     1  constant  u8 symbol
//     2  tuples    u8 k, then the coder's payload: ceil(n / k) tuples of k symbols, the first
//                  lowest, k * bits <= 8; the last is filled with zeros
//
// Tuples give coders of whole bits per symbol a chance at small alphabets and halve the look-ups of
// all: the largest k within 1/256 of the best is taken. Packed, unless coding saves 1/128: symbols
// without redundancy (mantissas) are then copied.
void encode_block(const EntropyCoder& coder, int bits, std::span<const uint8_t> symbols,
                  std::vector<std::byte>& out);

// The inverse: fills `symbols` from exactly `block`, which may be hostile (kCorrupt).
void decode_block(const EntropyCoder& coder, int bits, std::span<const std::byte> block,
                  std::span<uint8_t> symbols);

// Gives or takes the symbols from `begin` on; called on several threads for ranges that begin at
// multiples of kBlockSymbols.
using ReadSymbols = std::function<void(int64_t begin, std::span<uint8_t> symbols)>;
using WriteSymbols = std::function<void(int64_t begin, std::span<const uint8_t> symbols)>;

// A stream of `count` symbols:
//
//     u64 count | u32 size of each block, ceil(count / 2^20) of them | blocks
//
// The same bytes for any number of threads.
std::vector<std::byte> encode_stream(const EntropyCoder& coder, int bits, int64_t count,
                                     const ReadSymbols& read, ThreadPool& pool);

// Reads a stream from exactly `bytes`, which may be hostile: kCorrupt, also if it does not hold
// `count` symbols. Memory is a block for each thread.
void decode_stream(const EntropyCoder& coder, int bits, int64_t count,
                   std::span<const std::byte> bytes, const WriteSymbols& write, ThreadPool& pool);

}  // namespace bitsmith
