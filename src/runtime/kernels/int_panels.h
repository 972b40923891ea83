// The integer kernels for the best target of this CPU.
#pragma once

#include <span>

#include "runtime/kernels/int_job.h"

namespace bitsmith {

// Bytes of scratch that multiply_int() needs for a panel of codes unpacked.
inline int64_t int_scratch_bytes(const IntLayout& layout) {
  return ceil_div(layout.quads, 8) * 8 * IntLayout::kVectorBytes;
}

// The result of multiply_int_reference(), bit for bit.
void multiply_int(const IntJob& job, const PanelRange& range, std::span<uint8_t> scratch) noexcept;

// "AVX-512 VNNI", "AVX2", ...: the dot product that multiply_int() uses.
const char* int_dot_name();

}  // namespace bitsmith
