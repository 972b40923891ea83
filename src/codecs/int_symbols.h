// The bytes of the codec `int` as streams of symbols for entropy coding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "codecs/int_layout.h"

namespace bitsmith {

// Stream 0: codes of `bits` bits (plane_symbols.h).
// Stream 1: high bytes of the scales, and stream 2: low bytes; both with the section's padding.
// Stream 3: zero points of `bits` bits, in the order of their bytes (asymmetric only).
// Stream 4: the zero section's padding, as bytes (asymmetric only).
std::vector<SymbolStream> int_symbol_streams(const IntLayout& layout);

// See Codec::split_symbols and Codec::join_symbols.
void split_int_symbols(const IntLayout& layout, const uint8_t* bytes, size_t stream, int64_t begin,
                       std::span<uint8_t> symbols);
void join_int_symbols(const IntLayout& layout, size_t stream, int64_t begin,
                      std::span<const uint8_t> symbols, uint8_t* bytes);

}  // namespace bitsmith
