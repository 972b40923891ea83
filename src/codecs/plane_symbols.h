// Codes in planes, and grouped codecs around them, as streams of symbols for entropy coding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "codecs/grouped.h"

namespace bitsmith {

// The codes of planes of bits, at most 8 bits together, as one stream: for each panel, for each
// quad (their number rounded up to a multiple of 8, as planes of all widths together span at most),
// the 64 codes in the order of their elements. Where a plane does not reach, its bits are 0.
int64_t plane_symbol_count(const CodePlanes& planes);
//   bytes: of the code section
void split_plane_symbols(const CodePlanes& planes, const uint8_t* bytes, int64_t begin,
                         std::span<uint8_t> symbols);
void join_plane_symbols(const CodePlanes& planes, int64_t begin, std::span<const uint8_t> symbols,
                        uint8_t* bytes);

// A grouped codec with codes of `bits` bits: stream 0 the header, stream 1 the codes, stream 2 the
// parameters; the first and the last with their sections' padding, as bytes.
std::vector<SymbolStream> grouped_symbol_streams(const GroupedLayout& layout, int bits);
void split_grouped_symbols(const GroupedLayout& layout, const uint8_t* bytes, size_t stream,
                           int64_t begin, std::span<uint8_t> symbols);
void join_grouped_symbols(const GroupedLayout& layout, size_t stream, int64_t begin,
                          std::span<const uint8_t> symbols, uint8_t* bytes);

}  // namespace bitsmith
