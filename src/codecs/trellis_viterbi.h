// The best path through a trellis of shift registers, for every SIMD target.
#pragma once

#include <cstdint>
#include <vector>

#include "codecs/trellis.h"

namespace bitsmith {

class TrellisSearch {
 public:
  // values [2^16], kept by reference.
  TrellisSearch(TrellisRate rate, const std::vector<float>& values);

  // States of the closed path with little Σ weights[t] * (x[t] - value)²: the register before the
  // first step holds what the last step leaves. n steps, a multiple of 4, of at least 16 bits.
  //   weights [n] or nullptr: all 1
  // Tail-biting in two passes: the free best path of the numbers turned by n / 2 gives the
  // register's content at the seam, from which the second pass starts and to which it returns. The
  // exact best path would need a pass for each content. Paths of fewer than 128 bits, where the
  // seam is never far, take the best of up to 15 turns. O(n 2^16) time, n 2^(16 - floor(rate))
  // bytes. Tseng et al. 2024 (QTIP), arXiv:2406.11235, section 3.2 and algorithm 4.
  void closed_path(const float* x, const float* weights, int64_t n, uint16_t* states);

 private:
  static constexpr int kFree = -1;
  // The best path whose first state is any (kFree) or has `overlap` as its high bits, and whose
  // last state then has it as its low bits. Its first step is that of column `first`.
  void path(const float* x, const float* weights, int64_t n, int64_t first, int overlap,
            uint16_t* states);

  TrellisRate rate_;
  const std::vector<float>& values_;
  // The states that lead to the same next ones are a group: those with the same low 16 - b bits, b
  // the bits of the next step. The least cost of a path to one of a group, before a step and after.
  std::vector<float> before_;
  std::vector<float> least_;
  std::vector<uint8_t> from_;  // [n][most groups]: the high bits of the best of a group
};

}  // namespace bitsmith
