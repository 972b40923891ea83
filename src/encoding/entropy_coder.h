// Lossless coding of symbols by how often each occurs: the interface of every entropy coder.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/registry.h"

namespace bitsmith {

// How often each byte occurs.
using Histogram = std::array<uint32_t, 256>;

Histogram count_symbols(std::span<const uint8_t> symbols);

// The order-0 entropy of the counts times their number: what an ideal coder that knows only the
// counts would need.
double entropy_bits(const Histogram& counts);

// The most symbols of one call of an entropy coder; symbol_blocks.h cuts longer streams.
inline constexpr size_t kMaxCodedSymbols = size_t{1} << 20;

// Coders keep no state, and the same symbols give the same bytes.
class EntropyCoder {
 public:
  static const char* kind() { return "entropy coder"; }
  virtual ~EntropyCoder() = default;
  virtual const PartInfo& info() const = 0;

  // About as many bytes as encode() needs; for choosing among ways to form symbols.
  virtual uint64_t estimate_bytes(const Histogram& counts) const = 0;

  // Appends the coded symbols, of which at least two are different and at most kMaxCodedSymbols.
  //   counts: count_symbols(symbols)
  virtual void encode(std::span<const uint8_t> symbols, const Histogram& counts,
                      std::vector<std::byte>& out) const = 0;

  // Decodes exactly symbols.size() symbols from exactly `bytes`, which may be hostile: kCorrupt
  // unless they are a whole and well-formed code.
  virtual void decode(std::span<const std::byte> bytes, std::span<uint8_t> symbols) const = 0;
};

}  // namespace bitsmith
