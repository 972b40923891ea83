// Codecs `q4_0`, `q4_1`, `q5_0`, `q5_1`, `q8_0`: ggml's uniform codes in blocks of 32.
//
//     q4_0   d (binary16)                | 16 bytes: codes, halves                w = d (c - 8)
//     q4_1   d, m                        | 16 bytes: codes, halves                w = d c + m
//     q5_0   d     | 4 bytes: high bits  | 16 bytes: low 4 bits, halves           w = d (c - 16)
//     q5_1   d, m  | 4 bytes: high bits  | 16 bytes: low 4 bits, halves           w = d c + m
//     q8_0   d                           | 32 bytes: codes as signed bytes        w = d c
//
// Halves: ggml_bits.h. Bit i % 8 of byte i / 8 of the high bits is the fifth bit of code i.
#include "codecs/ggml_bits.h"

namespace bitsmith {
namespace {

constexpr int64_t kCols = 32;

template <bool kHasOffset>
void pack_4(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  bytes = put_u16(bytes, header.d);
  if (kHasOffset) bytes = put_u16(bytes, header.m);
  put_halves(codes.data(), kCols / 2, bytes);
}

template <bool kHasOffset>
void unpack_4(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  header.d = get_u16(bytes);
  if (kHasOffset) header.m = get_u16(bytes + 2);
  get_halves(bytes + (kHasOffset ? 4 : 2), kCols / 2, codes.data());
}

template <bool kHasOffset>
void pack_5(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  bytes = put_u16(bytes, header.d);
  if (kHasOffset) bytes = put_u16(bytes, header.m);
  std::fill_n(bytes, 4, uint8_t{0});
  for (size_t i = 0; i < kCols; ++i) {
    bytes[i / 8] = static_cast<uint8_t>(bytes[i / 8] | codes[i] >> 4 << i % 8);
  }
  put_halves(codes.data(), kCols / 2, bytes + 4);
}

template <bool kHasOffset>
void unpack_5(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  header.d = get_u16(bytes);
  if (kHasOffset) header.m = get_u16(bytes + 2);
  const uint8_t* high = bytes + (kHasOffset ? 4 : 2);
  get_halves(high + 4, kCols / 2, codes.data());
  for (size_t i = 0; i < kCols; ++i) {
    codes[i] = static_cast<uint8_t>(codes[i] | (high[i / 8] >> i % 8 & 1) << 4);
  }
}

void pack_8(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  bytes = put_u16(bytes, header.d);
  for (size_t i = 0; i < kCols; ++i) bytes[i] = codes[i] ^ 0x80;
}

void unpack_8(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  header.d = get_u16(bytes);
  for (size_t i = 0; i < kCols; ++i) codes[i] = bytes[2 + i] ^ 0x80;
}

GgmlFormat block_of_32(int bits, bool has_offset) {
  const int count = 1 << bits;
  GgmlFormat f{.block_cols = kCols, .sub_cols = kCols};
  f.block_bytes = (has_offset ? 4 : 2) + kCols * bits / 8;
  f.levels = uniform_levels(count, has_offset ? 0 : count / 2);
  f.used_codes = count;
  f.offsets = has_offset ? GgmlOffset::kHalf : GgmlOffset::kNone;
  f.id = fmt::format("q{}_{}", bits, has_offset ? 1 : 0);
  f.label = fmt::format("Q{}_{}", bits, has_offset ? 1 : 0);
  f.summary = fmt::format("ggml: {}-bit integers, a binary16 scale{} for every 32 columns", bits,
                          has_offset ? " and offset" : "");
  return f;
}

template <int kBits, bool kHasOffset>
GgmlFormat small() {
  GgmlFormat f = block_of_32(kBits, kHasOffset);
  f.pack = kBits == 4 ? pack_4<kHasOffset> : pack_5<kHasOffset>;
  f.unpack = kBits == 4 ? unpack_4<kHasOffset> : unpack_5<kHasOffset>;
  return f;
}

// Code -128 is not written: levels are symmetric.
GgmlFormat q8_0() {
  GgmlFormat f = block_of_32(8, false);
  f.first_code = 1;
  f.used_codes = 255;
  f.pack = pack_8;
  f.unpack = unpack_8;
  return f;
}

const Registration<Codec, GgmlCodecOf<small<4, false>>> kQ4_0;
const Registration<Codec, GgmlCodecOf<small<4, true>>> kQ4_1;
const Registration<Codec, GgmlCodecOf<small<5, false>>> kQ5_0;
const Registration<Codec, GgmlCodecOf<small<5, true>>> kQ5_1;
const Registration<Codec, GgmlCodecOf<q8_0>> kQ8_0;

}  // namespace
}  // namespace bitsmith
