// Products with weights that are sums of entries of vector codebooks.
#pragma once

#include <span>

#include "runtime/kernels/number_job.h"

namespace bitsmith {

// The number of a weight is the sum over the stages of the entry's number, which is a byte. Codes
// have 8 bits per stage, and blocks 2, 4 or 8 columns, so that the 32 columns of a group of
// activations are whole vectors of codes.
//
// Rejected: numbers of 14 bits as in level_table.h. A permutation of 256 bytes is what this kernel
// waits for, and two of them for an entry halve its speed. Rounding entries to bytes adds about a
// thousandth to the squared error of 2-bit codebooks; where it would add more than 10 %, codes of
// many bits or entries far from the others, there is no kernel.
struct VectorJob : NumberJob {
  static constexpr int64_t kEntries = 256;
  static constexpr int32_t kEntryOffset = 128;
  static constexpr int kRadixBits = 7;  // of the sums

  const CodePlanes* planes = nullptr;  // of the matrix of blocks; plane s is stage s
  const uint8_t* codes = nullptr;      // of the whole tensor
  int64_t dim = 0;
  int stages = 0;
  // By stage, by element of a block: the numbers of all entries. Aligned to 64 bytes.
  const uint8_t* tables = nullptr;  // [stages][dim][256]
  // The activations of one token, of each 4 blocks [dim][4] instead of [4][dim]; if there is one.
  const int8_t* x_by_element = nullptr;

  const uint8_t* table(int stage, int64_t element) const {
    return tables + (stage * dim + element) * kEntries;
  }
};

void multiply_vectors_reference(const VectorJob& job, const PanelRange& range) noexcept;

// The same, bit for bit. Scratch: job.scratch_bytes().
void multiply_vectors(const VectorJob& job, const PanelRange& range,
                      std::span<uint8_t> scratch) noexcept;

}  // namespace bitsmith
