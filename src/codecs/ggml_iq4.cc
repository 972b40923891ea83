// Codecs `iq4_nl`, `iq4_xs`: 16 levels that lie closer together around zero.
//
//     iq4_nl   d | 16 bytes: codes, halves                              w = d T[c],  blocks of 32
//     iq4_xs   d | 2 bytes: high 2 bits of the factors | 4 bytes: low 4 bits | 128 bytes: codes
//                                                      w = d (s - 32) T[c],  8 sub-blocks of 32
//
// T: kIq4Levels. Codes of iq4_xs: halves of 16 bytes for each sub-block. Factor j of 8: low bits in
// nibble j % 2 of byte j / 2, high bits at bit 2 j of the little-endian pair of bytes.
#include "codecs/ggml_bits.h"

namespace bitsmith {
namespace {

void pack_nl(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  put_halves(codes.data(), 16, put_u16(bytes, header.d));
}

void unpack_nl(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  header.d = get_u16(bytes);
  get_halves(bytes + 2, 16, codes.data());
}

void pack_xs(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  put_u16(bytes, header.d);
  int high = 0;
  uint8_t* low = bytes + 4;
  std::fill_n(low, 4, uint8_t{0});
  for (size_t j = 0; j < 8; ++j) {
    const int factor = header.scale[j] + 32;
    high |= factor >> 4 << (2 * j);
    low[j / 2] = static_cast<uint8_t>(low[j / 2] | (factor & 15) << (j % 2 * 4));
    put_halves(codes.data() + 32 * j, 16, bytes + 8 + 16 * j);
  }
  put_u16(bytes + 2, static_cast<uint16_t>(high));
}

void unpack_xs(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  header.d = get_u16(bytes);
  const int high = get_u16(bytes + 2);
  for (size_t j = 0; j < 8; ++j) {
    const int low = bytes[4 + j / 2] >> (j % 2 * 4) & 15;
    header.scale[j] = static_cast<int16_t>((low | (high >> (2 * j) & 3) << 4) - 32);
    get_halves(bytes + 8 + 16 * j, 16, codes.data() + 32 * j);
  }
}

GgmlFormat iq4_nl() {
  GgmlFormat f{.id = "iq4_nl",
               .label = "IQ4_NL",
               .summary = "ggml: 16 uneven levels, a binary16 scale for every 32 columns",
               .block_cols = 32,
               .block_bytes = 18,
               .sub_cols = 32,
               .levels = kIq4Levels,
               .used_codes = 16};
  f.pack = pack_nl;
  f.unpack = unpack_nl;
  return f;
}

GgmlFormat iq4_xs() {
  GgmlFormat f{.id = "iq4_xs",
               .label = "IQ4_XS",
               .summary = "ggml: 16 uneven levels, integer scales for every 32 of 256 columns",
               .block_cols = 256,
               .block_bytes = 136,
               .sub_cols = 32,
               .levels = kIq4Levels,
               .used_codes = 16,
               .scales = GgmlScale::kHalfTimesFactor,
               .least_factor = -32,
               .largest_factor = 31};
  f.pack = pack_xs;
  f.unpack = unpack_xs;
  return f;
}

const Registration<Codec, GgmlCodecOf<iq4_nl>> kIq4Nl;
const Registration<Codec, GgmlCodecOf<iq4_xs>> kIq4Xs;

}  // namespace
}  // namespace bitsmith
