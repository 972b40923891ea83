#include "codecs/int_symbols.h"

#include <algorithm>

#include "codecs/plane_symbols.h"

namespace bitsmith {
namespace {

enum Stream : size_t { kCodes = 0, kScalesHigh = 1, kScalesLow = 2, kZeros = 3, kPadding = 4 };

int64_t zero_bytes(const IntLayout& layout) {
  return layout.panels * layout.groups * layout.group_zero_bytes();
}

}  // namespace

std::vector<SymbolStream> int_symbol_streams(const IntLayout& layout) {
  const int64_t scales = (layout.zeros_offset - layout.scales_offset) / 2;
  std::vector<SymbolStream> streams = {
      {layout.bits, plane_symbol_count(layout)}, {8, scales}, {8, scales}};
  if (layout.symmetric) return streams;
  streams.push_back({layout.bits, layout.panels * layout.groups * IntLayout::kPanelRows});
  streams.push_back({8, layout.total_bytes - layout.zeros_offset - zero_bytes(layout)});
  return streams;
}

void split_int_symbols(const IntLayout& layout, const uint8_t* bytes, size_t stream, int64_t begin,
                       std::span<uint8_t> symbols) {
  if (stream == kCodes) {
    split_plane_symbols(layout, bytes, begin, symbols);
  } else if (stream == kScalesHigh || stream == kScalesLow) {
    const uint8_t* in = bytes + layout.scales_offset + 2 * begin + (stream == kScalesHigh ? 1 : 0);
    for (size_t i = 0; i < symbols.size(); ++i) symbols[i] = in[2 * i];
  } else if (stream == kPadding) {
    std::copy_n(bytes + layout.zeros_offset + zero_bytes(layout) + begin, symbols.size(),
                symbols.begin());
  } else {
    const uint8_t* in = bytes + layout.zeros_offset;
    int64_t position = begin * layout.bits;  // in bits
    for (uint8_t& symbol : symbols) {
      uint32_t value = 0;
      for (int bit = 0; bit < layout.bits; ++bit, ++position) {
        value |= (in[position / 8] >> (position % 8) & 1u) << bit;
      }
      symbol = static_cast<uint8_t>(value);
    }
  }
}

void join_int_symbols(const IntLayout& layout, size_t stream, int64_t begin,
                      std::span<const uint8_t> symbols, uint8_t* bytes) {
  if (stream == kCodes) {
    join_plane_symbols(layout, begin, symbols, bytes);
  } else if (stream == kScalesHigh || stream == kScalesLow) {
    uint8_t* out = bytes + layout.scales_offset + 2 * begin + (stream == kScalesHigh ? 1 : 0);
    for (size_t i = 0; i < symbols.size(); ++i) out[2 * i] = symbols[i];
  } else if (stream == kPadding) {
    std::ranges::copy(symbols, bytes + layout.zeros_offset + zero_bytes(layout) + begin);
  } else {
    uint8_t* out = bytes + layout.zeros_offset;
    int64_t position = begin * layout.bits;  // in bits
    for (const uint8_t symbol : symbols) {
      for (int bit = 0; bit < layout.bits; ++bit, ++position) {
        out[position / 8] |= static_cast<uint8_t>((symbol >> bit & 1) << (position % 8));
      }
    }
  }
}

}  // namespace bitsmith
