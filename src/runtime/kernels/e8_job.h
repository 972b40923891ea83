// Products with weights that are points of the lattice E8.
#pragma once

#include <span>

#include "codecs/e8.h"
#include "runtime/kernels/number_job.h"

namespace bitsmith {

// The number of a weight is 4 times its coordinate, plus kOffset: 1 to 23. A group of activations
// is 4 blocks of 8 columns, one vector of codes.
struct E8Job : NumberJob {
  static constexpr int32_t kOffset = 12;
  static constexpr float kUnit = 0.25F;

  const CodePlanes* planes = nullptr;  // of the matrix of blocks: low bytes of codes, high bytes
  const uint8_t* codes = nullptr;      // of the whole tensor
  // By high byte of a code, its pattern: (2 |a| - 1) / 2 + 4 of elements 0 and 1 in 4 bits each,
  // the first lowest, then of 2 and 3, ...; of element 7 all three bits are turned if the number of
  // negative elements is odd. Aligned to 64 bytes.
  const uint8_t* patterns = nullptr;  // [4][256]
  // The activations of one token, if there is one, of each group [8][4 blocks].
  const int8_t* x_by_element = nullptr;
  // And of each group the sums of the 4 blocks' activations, as
  // 64 * high + low, low in [0, 64).
  const int8_t* block_sums = nullptr;  // [groups][low, high][4]
};

void multiply_e8_reference(const E8Job& job, const PanelRange& range) noexcept;

// The same, bit for bit. Scratch: job.scratch_bytes().
void multiply_e8(const E8Job& job, const PanelRange& range, std::span<uint8_t> scratch) noexcept;

}  // namespace bitsmith
