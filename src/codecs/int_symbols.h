// The bytes of the codec `int` as streams of symbols for entropy coding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "codecs/int_layout.h"

namespace bitsmith {

// Stream 0: codes of `bits` bits (plane_symbols.h).
// In this order: codes of `bits` bits (plane_symbols.h); the bytes of scales with the section's
// padding, of binary16 the high ones, then the low ones; if asymmetric, zero points of `bits` bits
// in the order of their bytes, then the section's padding as bytes; the unit with its padding, if
// there is one.
std::vector<SymbolStream> int_symbol_streams(const IntLayout& layout);

// See Codec::split_symbols and Codec::join_symbols.
void split_int_symbols(const IntLayout& layout, const uint8_t* bytes, size_t stream, int64_t begin,
                       std::span<uint8_t> symbols);
void join_int_symbols(const IntLayout& layout, size_t stream, int64_t begin,
                      std::span<const uint8_t> symbols, uint8_t* bytes);

}  // namespace bitsmith
