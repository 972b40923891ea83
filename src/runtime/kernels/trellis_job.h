// Products with weights that are values of a trellis' states.
#pragma once

#include <span>

#include "codecs/trellis.h"
#include "runtime/kernels/number_job.h"

namespace bitsmith {

// The number of a weight is its state's value in whole units, plus the job's offset, so that it is
// not negative: of the code mul1 the sum of four bytes, of lookup a byte, of the others the sum of
// two numbers with 10 digits after the leading one and exponents from -3 to 0.
struct TrellisJob : NumberJob {
  enum class Code : uint8_t { k3Inst, kMcg, kMul1, kLookup };
  static constexpr int kRadixBits = 8;
  static constexpr int32_t kByteOffset = 510;
  static constexpr float kByteUnit = 0x1p-7F;
  static constexpr int32_t kHalfOffset = 32768;
  static constexpr float kHalfUnit = 0x1p-13F;
  static constexpr int32_t kLookupOffset = 128;
  static constexpr float kLookupUnit = 0x1p-6F;

  const TrellisLayout* layout = nullptr;
  const uint8_t* words = nullptr;  // of the whole tensor
  Code code = Code::k3Inst;
  const uint16_t* numbers = nullptr;  // [2^16] by state
  // Of one token, if there is one, by column: its activation in a byte (lookup), in 2 bytes (mul1),
  // or in both 16-bit halves of 4.
  const uint8_t* x_repeated = nullptr;

  uint32_t state(int64_t row, int64_t col) const;
};

void multiply_trellis_reference(const TrellisJob& job, const PanelRange& range) noexcept;

// The same, bit for bit. Scratch: job.scratch_bytes().
void multiply_trellis(const TrellisJob& job, const PanelRange& range,
                      std::span<uint8_t> scratch) noexcept;

}  // namespace bitsmith
