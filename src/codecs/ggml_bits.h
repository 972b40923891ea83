// Small pieces that the block layouts of ggml share.
#pragma once

#include <algorithm>
#include <cstring>

#include "codecs/ggml_block.h"

namespace bitsmith {

inline uint8_t* put_u16(uint8_t* bytes, uint16_t value) {
  bytes[0] = static_cast<uint8_t>(value);
  bytes[1] = static_cast<uint8_t>(value >> 8);
  return bytes + 2;
}

inline uint16_t get_u16(const uint8_t* bytes) {
  return static_cast<uint16_t>(bytes[0] | bytes[1] << 8);
}

// HALVES of 4-bit codes: byte i of `half` bytes holds code i in its low and code i + half in its
// high bits.
inline void put_halves(const uint8_t* codes, int64_t half, uint8_t* bytes) {
  for (int64_t i = 0; i < half; ++i) {
    bytes[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + half] & 15) << 4);
  }
}

inline void get_halves(const uint8_t* bytes, int64_t half, uint8_t* codes) {
  for (int64_t i = 0; i < half; ++i) {
    codes[i] = bytes[i] & 15;
    codes[i + half] = bytes[i] >> 4;
  }
}

// STRIPES of 2-bit codes: byte i of `stride` bytes holds codes i, i + stride, i + 2 stride and
// i + 3 stride, lowest bits first.
inline void put_stripes(const uint8_t* codes, int64_t stride, uint8_t* bytes) {
  for (int64_t i = 0; i < stride; ++i) {
    int byte = 0;
    for (int64_t t = 0; t < 4; ++t) byte |= (codes[i + t * stride] & 3) << (2 * t);
    bytes[i] = static_cast<uint8_t>(byte);
  }
}

inline void get_stripes(const uint8_t* bytes, int64_t stride, uint8_t* codes) {
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t i = 0; i < stride; ++i) {
      codes[i + t * stride] = static_cast<uint8_t>(bytes[i] >> (2 * t) & 3);
    }
  }
}

// The 16 levels of IQ4_NL and IQ4_XS.
inline const std::vector<float> kIq4Levels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                              1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace bitsmith
