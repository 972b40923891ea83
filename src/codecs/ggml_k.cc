// Codecs `q2_k` to `q6_k`: ggml's "K-quants", uniform codes in blocks of 256 whose sub-blocks have
// integer factors of a common scale.
//
//     q2_k   16 bytes: factor of scale (low 4 bits) and of offset of sub-block j | 64 bytes: codes
//            | d, m                                   w = d s c - m n,  16 sub-blocks of 16
//     q3_k   32 bytes: high bits | 64 bytes: low 2 bits | 12 bytes: factors, 6 bits | d
//                                                     w = d (s - 32) (c - 4),  16 sub-blocks of 16
//     q4_k   d, m | 12 bytes: factors, 6 bits | 128 bytes: codes
//                                                     w = d s c - m n,  8 sub-blocks of 32
//     q5_k   d, m | 12 bytes: factors, 6 bits | 32 bytes: high bits | 128 bytes: low 4 bits
//     q6_k   128 bytes: low 4 bits | 64 bytes: high 2 bits | 16 factors, signed bytes | d
//                                                     w = d s (c - 32),  16 sub-blocks of 16
//
// Where the bits of column i lie (halves and stripes: ggml_bits.h):
//     2-bit codes and low 2 bits of q3_k   stripes of 32 bytes, one run of 32 for each 128 columns
//     high bit of q3_k                     byte i % 32, bit i / 32
//     4-bit codes and low 4 bits of q5_k   halves of 32 bytes, one run of 32 for each 64 columns
//     high bit of q5_k                     byte i % 32, bit i / 32
//     low 4 bits of q6_k                   halves of 64 bytes, one run of 64 for each 128 columns
//     high 2 bits of q6_k                  stripes of 32 bytes, one run of 32 for each 128 columns
#include "codecs/ggml_bits.h"

namespace bitsmith {
namespace {

constexpr size_t kCols = 256;

void put_2bit(const GgmlCodes& codes, uint8_t* bytes) {
  put_stripes(codes.data(), 32, bytes);
  put_stripes(codes.data() + 128, 32, bytes + 32);
}

void get_2bit(const uint8_t* bytes, GgmlCodes& codes) {
  get_stripes(bytes, 32, codes.data());
  get_stripes(bytes + 32, 32, codes.data() + 128);
}

void put_4bit(const GgmlCodes& codes, uint8_t* bytes) {
  for (size_t i = 0; i < 4; ++i) put_halves(codes.data() + 64 * i, 32, bytes + 32 * i);
}

void get_4bit(const uint8_t* bytes, GgmlCodes& codes) {
  for (size_t i = 0; i < 4; ++i) get_halves(bytes + 32 * i, 32, codes.data() + 64 * i);
}

// Bit `bit` of every code, 32 bytes.
void put_high_bits(const GgmlCodes& codes, int bit, uint8_t* bytes) {
  std::fill_n(bytes, 32, uint8_t{0});
  for (size_t i = 0; i < kCols; ++i) {
    bytes[i % 32] = static_cast<uint8_t>(bytes[i % 32] | (codes[i] >> bit & 1) << i / 32);
  }
}

void add_high_bits(const uint8_t* bytes, int bit, GgmlCodes& codes) {
  for (size_t i = 0; i < kCols; ++i) {
    codes[i] = static_cast<uint8_t>(codes[i] | (bytes[i % 32] >> i / 32 & 1) << bit);
  }
}

void pack_q2(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  for (size_t j = 0; j < 16; ++j) {
    bytes[j] = static_cast<uint8_t>(header.scale[j] | header.min[j] << 4);
  }
  put_2bit(codes, bytes + 16);
  put_u16(put_u16(bytes + 80, header.d), header.m);
}

void unpack_q2(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  for (size_t j = 0; j < 16; ++j) {
    header.scale[j] = bytes[j] & 15;
    header.min[j] = bytes[j] >> 4;
  }
  get_2bit(bytes + 16, codes);
  header.d = get_u16(bytes + 80);
  header.m = get_u16(bytes + 82);
}

// Factor j of 16, 6 bits plus 32: the low 4 in nibble j / 8 of byte j % 8, the high 2 at bit
// 2 (j / 4) of byte 8 + j % 4.
void pack_q3(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  put_high_bits(codes, 2, bytes);
  put_2bit(codes, bytes + 32);
  uint8_t* factors = bytes + 96;
  std::fill_n(factors, 12, uint8_t{0});
  for (size_t j = 0; j < 16; ++j) {
    const int factor = header.scale[j] + 32;
    uint8_t& low = factors[j % 8];
    uint8_t& high = factors[8 + j % 4];
    low = static_cast<uint8_t>(low | (factor & 15) << (j / 8 * 4));
    high = static_cast<uint8_t>(high | factor >> 4 << (j / 4 * 2));
  }
  put_u16(bytes + 108, header.d);
}

void unpack_q3(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  get_2bit(bytes + 32, codes);
  add_high_bits(bytes, 2, codes);
  const uint8_t* factors = bytes + 96;
  for (size_t j = 0; j < 16; ++j) {
    const int low = factors[j % 8] >> (j / 8 * 4) & 15;
    const int high = factors[8 + j % 4] >> (j / 4 * 2) & 3;
    header.scale[j] = static_cast<int16_t>((low | high << 4) - 32);
  }
  header.d = get_u16(bytes + 108);
}

// The 6-bit factors s and n of 8 sub-blocks in 12 bytes b:
//     j < 4    s_j = b[j] & 63                              n_j = b[j + 4] & 63
//     j >= 4   s_j = b[j + 4] & 15 | b[j - 4] >> 6 << 4     n_j = b[j + 4] >> 4 | b[j] >> 6 << 4
void put_factors(const GgmlHeader& header, uint8_t* b) {
  for (size_t j = 0; j < 4; ++j) {
    b[j] = static_cast<uint8_t>(header.scale[j] | header.scale[j + 4] >> 4 << 6);
    b[j + 4] = static_cast<uint8_t>(header.min[j] | header.min[j + 4] >> 4 << 6);
    b[j + 8] = static_cast<uint8_t>((header.scale[j + 4] & 15) | (header.min[j + 4] & 15) << 4);
  }
}

void get_factors(const uint8_t* b, GgmlHeader& header) {
  for (size_t j = 0; j < 4; ++j) {
    header.scale[j] = b[j] & 63;
    header.min[j] = b[j + 4] & 63;
    header.scale[j + 4] = static_cast<int16_t>((b[j + 8] & 15) | b[j] >> 6 << 4);
    header.min[j + 4] = static_cast<uint8_t>(b[j + 8] >> 4 | b[j + 4] >> 6 << 4);
  }
}

void pack_q4(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  put_u16(put_u16(bytes, header.d), header.m);
  put_factors(header, bytes + 4);
  put_4bit(codes, bytes + 16);
}

void unpack_q4(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  header.d = get_u16(bytes);
  header.m = get_u16(bytes + 2);
  get_factors(bytes + 4, header);
  get_4bit(bytes + 16, codes);
}

void pack_q5(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  put_u16(put_u16(bytes, header.d), header.m);
  put_factors(header, bytes + 4);
  put_high_bits(codes, 4, bytes + 16);
  put_4bit(codes, bytes + 48);
}

void unpack_q5(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  header.d = get_u16(bytes);
  header.m = get_u16(bytes + 2);
  get_factors(bytes + 4, header);
  get_4bit(bytes + 48, codes);
  add_high_bits(bytes + 16, 4, codes);
}

void pack_q6(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  GgmlCodes high{};
  for (size_t i = 0; i < kCols; ++i) high[i] = codes[i] >> 4;
  put_halves(codes.data(), 64, bytes);
  put_halves(codes.data() + 128, 64, bytes + 64);
  put_2bit(high, bytes + 128);
  for (size_t j = 0; j < 16; ++j) bytes[192 + j] = static_cast<uint8_t>(header.scale[j]);
  put_u16(bytes + 208, header.d);
}

void unpack_q6(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  GgmlCodes high{};
  get_halves(bytes, 64, codes.data());
  get_halves(bytes + 64, 64, codes.data() + 128);
  get_2bit(bytes + 128, high);
  for (size_t i = 0; i < kCols; ++i) codes[i] = static_cast<uint8_t>(codes[i] | high[i] << 4);
  for (size_t j = 0; j < 16; ++j) header.scale[j] = static_cast<int8_t>(bytes[192 + j]);
  header.d = get_u16(bytes + 208);
}

GgmlFormat k_quant(int bits, int64_t bytes, int64_t sub_cols, int zero) {
  GgmlFormat f{.block_cols = kCols, .block_bytes = bytes, .sub_cols = sub_cols};
  f.levels = uniform_levels(1 << bits, zero);
  f.used_codes = 1 << bits;
  f.scales = GgmlScale::kHalfTimesFactor;
  f.id = fmt::format("q{}_k", bits);
  f.label = fmt::format("Q{}_K", bits);
  f.summary = fmt::format("ggml: {}-bit integers, integer scales{} for every {} of 256 columns",
                          bits, zero == 0 ? " and offsets" : "", sub_cols);
  return f;
}

// Factors of `bits` bits for scales and offsets.
GgmlFormat with_mins(GgmlFormat f, int bits) {
  f.offsets = GgmlOffset::kMinusHalfTimesMin;
  f.least_factor = 0;
  f.largest_factor = f.largest_min = (1 << bits) - 1;
  return f;
}

// Signed factors of `bits` bits.
GgmlFormat with_signed_factors(GgmlFormat f, int bits) {
  f.least_factor = -(1 << (bits - 1));
  f.largest_factor = (1 << (bits - 1)) - 1;
  return f;
}

GgmlFormat q2_k() {
  GgmlFormat f = with_mins(k_quant(2, 84, 16, 0), 4);
  f.pack = pack_q2;
  f.unpack = unpack_q2;
  return f;
}

GgmlFormat q3_k() {
  GgmlFormat f = with_signed_factors(k_quant(3, 110, 16, 4), 6);
  f.pack = pack_q3;
  f.unpack = unpack_q3;
  return f;
}

GgmlFormat q4_k() {
  GgmlFormat f = with_mins(k_quant(4, 144, 32, 0), 6);
  f.pack = pack_q4;
  f.unpack = unpack_q4;
  return f;
}

GgmlFormat q5_k() {
  GgmlFormat f = with_mins(k_quant(5, 176, 32, 0), 6);
  f.pack = pack_q5;
  f.unpack = unpack_q5;
  return f;
}

GgmlFormat q6_k() {
  GgmlFormat f = with_signed_factors(k_quant(6, 210, 16, 32), 8);
  f.pack = pack_q6;
  f.unpack = unpack_q6;
  return f;
}

const Registration<Codec, GgmlCodecOf<q2_k>> kQ2_K;
const Registration<Codec, GgmlCodecOf<q3_k>> kQ3_K;
const Registration<Codec, GgmlCodecOf<q4_k>> kQ4_K;
const Registration<Codec, GgmlCodecOf<q5_k>> kQ5_K;
const Registration<Codec, GgmlCodecOf<q6_k>> kQ6_K;

}  // namespace
}  // namespace bitsmith
