#include "codecs/int_symbols.h"

#include <algorithm>

#include "tensor/shape.h"

namespace bitsmith {
namespace {

enum Stream : size_t { kCodes = 0, kScalesHigh = 1, kScalesLow = 2, kZeros = 3, kPadding = 4 };

// 8 quads: the codes that whole vectors of every plane hold together.
constexpr int64_t kOctet = 8 * IntLayout::kVectorBytes;

int64_t octets(const IntLayout& layout) { return ceil_div(layout.quads, 8); }

int64_t zero_bytes(const IntLayout& layout) {
  return layout.panels * layout.groups * layout.group_zero_bytes();
}

// Calls visit(vector offset in bytes, bit of the vector's bytes, plane, index of the quad in the
// octet) for all pieces that the codes of octet `octet` are made of.
template <class Visit>
void for_each_piece(const IntLayout& layout, int64_t octet, const Visit& visit) {
  const int64_t panel = octet / octets(layout);
  const int64_t in_panel = octet % octets(layout);
  for (int i = 0; i < layout.plane_count; ++i) {
    const IntLayout::Plane& plane = layout.planes[static_cast<size_t>(i)];
    const int64_t vectors = ceil_div(layout.quads * plane.width, 8);
    for (int64_t quad = 0; quad < 8; ++quad) {
      const int64_t vector = in_panel * plane.width + quad * plane.width / 8;
      if (vector >= vectors) break;
      visit(panel * layout.panel_code_bytes + plane.offset_bytes + vector * IntLayout::kVectorBytes,
            static_cast<int>(quad * plane.width % 8), plane, quad);
    }
  }
}

void split_codes(const IntLayout& layout, const uint8_t* bytes, int64_t begin,
                 std::span<uint8_t> symbols) {
  std::ranges::fill(symbols, uint8_t{0});
  for (size_t at = 0; at < symbols.size(); at += kOctet) {
    uint8_t* out = symbols.data() + at;
    for_each_piece(layout, (begin + static_cast<int64_t>(at)) / kOctet,
                   [&](int64_t offset, int bit, const IntLayout::Plane& plane, int64_t quad) {
                     const auto mask = static_cast<uint8_t>((1 << plane.width) - 1);
                     const uint8_t* in = bytes + offset;
                     uint8_t* codes = out + quad * IntLayout::kVectorBytes;
                     for (int j = 0; j < IntLayout::kVectorBytes; ++j) {
                       codes[j] |= static_cast<uint8_t>((in[j] >> bit & mask) << plane.shift);
                     }
                   });
  }
}

void join_codes(const IntLayout& layout, int64_t begin, std::span<const uint8_t> symbols,
                uint8_t* bytes) {
  for (size_t at = 0; at < symbols.size(); at += kOctet) {
    const uint8_t* in = symbols.data() + at;
    for_each_piece(layout, (begin + static_cast<int64_t>(at)) / kOctet,
                   [&](int64_t offset, int bit, const IntLayout::Plane& plane, int64_t quad) {
                     const auto mask = static_cast<uint8_t>((1 << plane.width) - 1);
                     const uint8_t* codes = in + quad * IntLayout::kVectorBytes;
                     uint8_t* out = bytes + offset;
                     for (int j = 0; j < IntLayout::kVectorBytes; ++j) {
                       out[j] |= static_cast<uint8_t>((codes[j] >> plane.shift & mask) << bit);
                     }
                   });
  }
}

}  // namespace

std::vector<SymbolStream> int_symbol_streams(const IntLayout& layout) {
  const int64_t scales = (layout.zeros_offset - layout.scales_offset) / 2;
  std::vector<SymbolStream> streams = {
      {layout.bits, layout.panels * octets(layout) * kOctet}, {8, scales}, {8, scales}};
  if (layout.symmetric) return streams;
  streams.push_back({layout.bits, layout.panels * layout.groups * IntLayout::kPanelRows});
  streams.push_back({8, layout.total_bytes - layout.zeros_offset - zero_bytes(layout)});
  return streams;
}

void split_int_symbols(const IntLayout& layout, const uint8_t* bytes, size_t stream, int64_t begin,
                       std::span<uint8_t> symbols) {
  if (stream == kCodes) {
    split_codes(layout, bytes, begin, symbols);
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
    join_codes(layout, begin, symbols, bytes);
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
