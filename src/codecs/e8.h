// The codebook E8P: 2^16 points of the lattice E8, shifted by a quarter, made from 256 patterns.
#pragma once

#include <array>
#include <cstdint>

namespace bitsmith {

// A point is  s · a + 1/4 or s · a - 1/4, with
//   a   one of 256 patterns of 8 halves of odd numbers, all positive: the 227 with |a|² <= 10 and
//       29 of the 224 with |a|² = 12
//   s   eight signs, of which seven are free: the last makes the sum of s · a even, so that s · a
//       is in the coset D8 + 1/2 of E8
// Code of 16 bits:
//     | pattern, 8 bits | signs of elements 6 .. 0 (1: negative), 7 bits | shift (1: +1/4), 1 bit |
// Patterns are in ascending order of |a|², then in lexicographic order of (2a - 1) / 2, element 0
// first. Of |a|² = 12, those whose number in that order, i in [0, 224), is floor(j * 224 / 29) for
// a j in [0, 29) are taken. Tseng et al. 2024 (QuIP#), arXiv:2402.04396, section 4.2; differs:
// which 29 patterns of norm 12.
class E8Codebook {
 public:
  static const E8Codebook& instance();

  // The point of a code.
  void decode(uint16_t code, float* point) const;
  // The nearest point to x [8] in the sum of weight * difference²; weights [8] or nullptr: all 1.
  // Exact: for each pattern and shift the best signs are those of x - shift, and if their parity is
  // wrong, the one that costs least is turned.
  uint16_t nearest(const float* x, const float* weights) const;

 private:
  E8Codebook();
  std::array<std::array<float, 8>, 256> patterns_;
  std::array<bool, 256> odd_;  // the number of negative elements is odd
};

}  // namespace bitsmith
