// Codecs `tq1_0`, `tq2_0`: weights -d, 0 and d in blocks of 256.
//
//     tq2_0   64 bytes: codes, stripes of 32 bytes for each 128 columns | d          w = d (c - 1)
//     tq1_0   48 + 4 bytes: trits | d                                                w = d (t - 1)
//
// A byte of trits t0 .. t4 is ceil(256 v / 243), v = 81 t0 + 27 t1 + 9 t2 + 3 t3 + t4 (v <= 242).
// Then t_n is the whole part of 3 x / 256, x = (byte * 3^n) mod 256. Trit n of byte i is of column
//     i in [0, 32)    i + 32 n
//     i in [32, 48)   160 + (i - 32) + 16 n
//     i in [48, 52)   240 + (i - 48) + 4 n,  n < 4; t4 = 0
#include "codecs/ggml_bits.h"

namespace bitsmith {
namespace {

// A run of bytes whose trit n is of column first + i + bytes * n.
struct Run {
  size_t first_byte, bytes, first_col, trits;
};
constexpr std::array<Run, 3> kRuns = {{{0, 32, 0, 5}, {32, 16, 160, 5}, {48, 4, 240, 4}}};

void pack_tq1(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  for (const Run& run : kRuns) {
    for (size_t i = 0; i < run.bytes; ++i) {
      int v = 0;
      for (size_t n = 0; n < 5; ++n) {
        v = 3 * v + (n < run.trits ? codes[run.first_col + i + run.bytes * n] : 0);
      }
      bytes[run.first_byte + i] = static_cast<uint8_t>((256 * v + 242) / 243);
    }
  }
  put_u16(bytes + 52, header.d);
}

void unpack_tq1(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  for (const Run& run : kRuns) {
    for (size_t i = 0; i < run.bytes; ++i) {
      unsigned x = bytes[run.first_byte + i];
      for (size_t n = 0; n < run.trits; ++n) {
        codes[run.first_col + i + run.bytes * n] = static_cast<uint8_t>(3 * x >> 8);
        x = 3 * x & 255;
      }
    }
  }
  header.d = get_u16(bytes + 52);
}

void pack_tq2(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  put_stripes(codes.data(), 32, bytes);
  put_stripes(codes.data() + 128, 32, bytes + 32);
  put_u16(bytes + 64, header.d);
}

void unpack_tq2(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  get_stripes(bytes, 32, codes.data());
  get_stripes(bytes + 32, 32, codes.data() + 128);
  header.d = get_u16(bytes + 64);
}

GgmlFormat ternary(std::string id, std::string label, int64_t bytes) {
  GgmlFormat f{.id = std::move(id), .label = std::move(label)};
  f.summary = "ggml: -1, 0 and 1 times a binary16 scale for every 256 columns";
  f.block_cols = f.sub_cols = 256;
  f.block_bytes = bytes;
  f.levels = uniform_levels(4, 1);  // hostile bytes of tq2_0 hold code 3
  f.used_codes = 3;
  return f;
}

GgmlFormat tq1_0() {
  GgmlFormat f = ternary("tq1_0", "TQ1_0", 54);
  f.pack = pack_tq1;
  f.unpack = unpack_tq1;
  return f;
}

GgmlFormat tq2_0() {
  GgmlFormat f = ternary("tq2_0", "TQ2_0", 66);
  f.pack = pack_tq2;
  f.unpack = unpack_tq2;
  return f;
}

const Registration<Codec, GgmlCodecOf<tq1_0>> kTq1;
const Registration<Codec, GgmlCodecOf<tq2_0>> kTq2;

}  // namespace
}  // namespace bitsmith
