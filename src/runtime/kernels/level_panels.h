// The kernels for scaled levels, for the best target of this CPU.
#pragma once

#include <span>

#include "runtime/kernels/int_panels.h"
#include "runtime/kernels/level_job.h"

namespace bitsmith {

// The result of multiply_levels_reference(), bit for bit. Scratch: job.scratch_bytes().
void multiply_levels(const LevelJob& job, const PanelRange& range,
                     std::span<uint8_t> scratch) noexcept;

}  // namespace bitsmith
