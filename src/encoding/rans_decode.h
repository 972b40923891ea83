// The inner loop of rANS decoding, for every SIMD target.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace bitsmith {

inline constexpr size_t kRansLanes = 32;  // states that take turns
inline constexpr int kRansProbabilityBits = 12;
inline constexpr size_t kRansSlots = size_t{1} << kRansProbabilityBits;
inline constexpr uint32_t kRansLowest = uint32_t{1} << 16;  // of a state between two symbols

using RansStates = std::array<uint32_t, kRansLanes>;

// What each of the 4096 values of a state's low 12 bits means, in one number:
//     bits 0-11   frequency of the symbol in 1/4096
//     bits 12-23  the value's place within the symbol's interval
//     bits 24-31  symbol
using RansTable = std::array<uint32_t, kRansSlots>;

// One symbol; the state before renormalisation.
inline uint32_t rans_step(const RansTable& table, uint32_t state, uint8_t& symbol) {
  const uint32_t entry = table[state & (kRansSlots - 1)];
  symbol = static_cast<uint8_t>(entry >> 24);
  return (entry & 0xfff) * (state >> kRansProbabilityBits) + (entry >> 12 & 0xfff);
}

// Decodes as many rounds (a symbol from each lane, written to out[0 .. 31], out[32 .. 63], ...) as
// there is room for: 32 symbols of output and words for the worst case. Advances states; returns
// the symbols written and adds the words read (u16, from `words` on, aligned to nothing) to
// `read`. The same on every target.
size_t rans_decode_rounds(const RansTable& table, RansStates& states,
                          std::span<const std::byte> words, size_t& read, std::span<uint8_t> out);

}  // namespace bitsmith
