// The kernels for planes of digits, for the best target of this CPU.
#pragma once

#include <span>

#include "runtime/kernels/digit_job.h"
#include "runtime/kernels/int_panels.h"

namespace bitsmith {

// The result of multiply_digits_reference(), bit for bit. Scratch: job.scratch_bytes().
void multiply_digits(const DigitJob& job, const PanelRange& range,
                     std::span<uint8_t> scratch) noexcept;

}  // namespace bitsmith
