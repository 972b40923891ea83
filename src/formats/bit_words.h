// Numbers of a few bits one after the other in little-endian words of 32 bits, lowest bits first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "tensor/shape.h"

namespace bitsmith {

// A stream of numbers; they cross the ends of words.
class BitWordWriter {
 public:
  // Room for `count` numbers of `bits` bits each, in whole words of zeros.
  BitWordWriter(int64_t count, int bits)
      : bits_(bits), words_(static_cast<size_t>(ceil_div(count * bits, 32)), 0) {}

  void set(int64_t index, uint32_t number) {
    const int64_t first = index * bits_;
    const uint64_t shifted = uint64_t{number} << (first % 32);
    const auto word = static_cast<size_t>(first / 32);
    words_[word] |= static_cast<uint32_t>(shifted);
    if (shifted >> 32 != 0) words_[word + 1] |= static_cast<uint32_t>(shifted >> 32);
  }
  const std::vector<uint32_t>& words() const { return words_; }

 private:
  int bits_;
  std::vector<uint32_t> words_;
};

// Number `index` of the stream whose word i is word(i).
template <class Word>
uint32_t bit_word_number(int64_t index, int bits, const Word& word) {
  const int64_t first = index * bits;
  uint64_t pair = word(first / 32);
  if (first % 32 + bits > 32) pair |= uint64_t{word(first / 32 + 1)} << 32;
  return static_cast<uint32_t>(pair >> (first % 32)) & ((uint32_t{1} << bits) - 1);
}

// Word i of bytes that are aligned to nothing.
inline uint32_t load_word(std::span<const std::byte> bytes, int64_t i) {
  uint32_t word;
  std::memcpy(&word, bytes.data() + i * 4, sizeof(word));
  return word;
}

}  // namespace bitsmith
