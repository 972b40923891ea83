#include "codecs/plane_symbols.h"

#include <algorithm>

#include "tensor/shape.h"

namespace bitsmith {
namespace {

// 8 quads: the codes that whole vectors of every plane hold together.
constexpr int64_t kOctet = 8 * CodePlanes::kVectorBytes;

int64_t octets(const CodePlanes& planes) { return ceil_div(planes.quads, 8); }

// Calls visit(vector offset in bytes, bit of the vector's bytes, plane, index of the quad in the
// octet) for all pieces that the codes of octet `octet` are made of.
template <class Visit>
void for_each_piece(const CodePlanes& planes, int64_t octet, const Visit& visit) {
  const int64_t panel = octet / octets(planes);
  const int64_t in_panel = octet % octets(planes);
  for (int i = 0; i < planes.plane_count; ++i) {
    const CodePlanes::Plane& plane = planes.planes[static_cast<size_t>(i)];
    const int64_t vectors = ceil_div(planes.quads * plane.width, 8);
    for (int64_t quad = 0; quad < 8; ++quad) {
      const int64_t vector = in_panel * plane.width + quad * plane.width / 8;
      if (vector >= vectors) break;
      visit(
          panel * planes.panel_code_bytes + plane.offset_bytes + vector * CodePlanes::kVectorBytes,
          static_cast<int>(quad * plane.width % 8), plane, quad);
    }
  }
}

}  // namespace

int64_t plane_symbol_count(const CodePlanes& planes) {
  return planes.panels * octets(planes) * kOctet;
}

void split_plane_symbols(const CodePlanes& planes, const uint8_t* bytes, int64_t begin,
                         std::span<uint8_t> symbols) {
  std::ranges::fill(symbols, uint8_t{0});
  for (size_t at = 0; at < symbols.size(); at += kOctet) {
    uint8_t* out = symbols.data() + at;
    for_each_piece(planes, (begin + static_cast<int64_t>(at)) / kOctet,
                   [&](int64_t offset, int bit, const CodePlanes::Plane& plane, int64_t quad) {
                     const auto mask = static_cast<uint8_t>((1 << plane.width) - 1);
                     const uint8_t* in = bytes + offset;
                     uint8_t* codes = out + quad * CodePlanes::kVectorBytes;
                     for (int j = 0; j < CodePlanes::kVectorBytes; ++j) {
                       codes[j] |= static_cast<uint8_t>((in[j] >> bit & mask) << plane.shift);
                     }
                   });
  }
}

void join_plane_symbols(const CodePlanes& planes, int64_t begin, std::span<const uint8_t> symbols,
                        uint8_t* bytes) {
  for (size_t at = 0; at < symbols.size(); at += kOctet) {
    const uint8_t* in = symbols.data() + at;
    for_each_piece(planes, (begin + static_cast<int64_t>(at)) / kOctet,
                   [&](int64_t offset, int bit, const CodePlanes::Plane& plane, int64_t quad) {
                     const auto mask = static_cast<uint8_t>((1 << plane.width) - 1);
                     const uint8_t* codes = in + quad * CodePlanes::kVectorBytes;
                     uint8_t* out = bytes + offset;
                     for (int j = 0; j < CodePlanes::kVectorBytes; ++j) {
                       out[j] |= static_cast<uint8_t>((codes[j] >> plane.shift & mask) << bit);
                     }
                   });
  }
}

std::vector<SymbolStream> grouped_symbol_streams(const GroupedLayout& layout, int bits) {
  return {{8, layout.codes_offset},
          {bits, plane_symbol_count(layout.codes)},
          {8, layout.total_bytes - layout.parameters_offset}};
}

void split_grouped_symbols(const GroupedLayout& layout, const uint8_t* bytes, size_t stream,
                           int64_t begin, std::span<uint8_t> symbols) {
  if (stream == 1) {
    split_plane_symbols(layout.codes, bytes + layout.codes_offset, begin, symbols);
  } else {
    std::copy_n(bytes + (stream == 0 ? 0 : layout.parameters_offset) + begin, symbols.size(),
                symbols.begin());
  }
}

void join_grouped_symbols(const GroupedLayout& layout, size_t stream, int64_t begin,
                          std::span<const uint8_t> symbols, uint8_t* bytes) {
  if (stream == 1) {
    join_plane_symbols(layout.codes, begin, symbols, bytes + layout.codes_offset);
  } else {
    std::ranges::copy(symbols, bytes + (stream == 0 ? 0 : layout.parameters_offset) + begin);
  }
}

}  // namespace bitsmith
