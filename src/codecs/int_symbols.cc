#include "codecs/int_symbols.h"

#include <algorithm>

#include "codecs/plane_symbols.h"

namespace bitsmith {
namespace {

// Where the symbols of a stream lie.
struct IntStream {
  enum class Kind { kCodes, kBytes, kZeros };
  Kind kind;
  SymbolStream symbols;
  int64_t offset = 0;  // of the first byte
  int64_t stride = 1;  // of bytes
};

std::vector<IntStream> streams_of(const IntLayout& layout) {
  using Kind = IntStream::Kind;
  std::vector<IntStream> streams = {{Kind::kCodes, {layout.bits, plane_symbol_count(layout)}}};
  const auto add_bytes = [&](int64_t begin, int64_t end, int64_t stride) {
    for (int64_t first = begin + stride - 1; first >= begin; --first) {
      streams.push_back({Kind::kBytes, {8, (end - begin) / stride}, first, stride});
    }
  };
  add_bytes(layout.scales_offset, layout.zeros_offset, scale_bytes(layout.scale_format));
  if (!layout.symmetric) {
    const int64_t vectors = layout.panels * layout.groups;
    streams.push_back(
        {Kind::kZeros, {layout.bits, vectors * IntLayout::kPanelRows}, layout.zeros_offset});
    add_bytes(layout.zeros_offset + vectors * layout.group_zero_bytes(), layout.unit_offset, 1);
  }
  if (has_tensor_scale(layout.scale_format)) add_bytes(layout.unit_offset, layout.total_bytes, 1);
  return streams;
}

}  // namespace

std::vector<SymbolStream> int_symbol_streams(const IntLayout& layout) {
  std::vector<SymbolStream> result;
  for (const IntStream& stream : streams_of(layout)) result.push_back(stream.symbols);
  return result;
}

void split_int_symbols(const IntLayout& layout, const uint8_t* bytes, size_t stream, int64_t begin,
                       std::span<uint8_t> symbols) {
  const IntStream from = streams_of(layout)[stream];
  const uint8_t* const in = bytes + from.offset;
  if (from.kind == IntStream::Kind::kCodes) {
    split_plane_symbols(layout, bytes, begin, symbols);
  } else if (from.kind == IntStream::Kind::kBytes) {
    for (int64_t i = 0; i < std::ssize(symbols); ++i) {
      symbols[static_cast<size_t>(i)] = in[(begin + i) * from.stride];
    }
  } else {
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
  const IntStream to = streams_of(layout)[stream];
  uint8_t* const out = bytes + to.offset;
  if (to.kind == IntStream::Kind::kCodes) {
    join_plane_symbols(layout, begin, symbols, bytes);
  } else if (to.kind == IntStream::Kind::kBytes) {
    for (int64_t i = 0; i < std::ssize(symbols); ++i) {
      out[(begin + i) * to.stride] = symbols[static_cast<size_t>(i)];
    }
  } else {
    int64_t position = begin * layout.bits;  // in bits
    for (const uint8_t symbol : symbols) {
      for (int bit = 0; bit < layout.bits; ++bit, ++position) {
        out[position / 8] |= static_cast<uint8_t>((symbol >> bit & 1) << (position % 8));
      }
    }
  }
}

}  // namespace bitsmith
