// Products with weights that are scaled levels of a table.
#pragma once

#include "runtime/kernels/level_table.h"
#include "runtime/kernels/number_job.h"

namespace bitsmith {

// The number of a weight is that of its code in a table. Groups of activations are of 32 columns,
// or of 16 for codes of 4 bits.
struct LevelJob : NumberJob {
  const CodePlanes* planes = nullptr;
  int bits = 0;                       // of a code, 1 to 8
  const uint8_t* codes = nullptr;     // of the whole tensor
  const LevelTable* table = nullptr;  // of the tensor, wide for codes of 5, 7 and 8 bits
  // Or a table for each row, of 4 bits at most: [panels][16 rows][16], of wide numbers the low
  // bytes of a panel and then the high ones. Numbers that are not wide are whole bytes (kOneByte).
  const uint8_t* row_tables = nullptr;

  static constexpr int64_t kRowTableBytes = 256;  // of a panel
  int64_t panel_table_bytes() const {
    return radix_bits == 7 ? 2 * kRowTableBytes : kRowTableBytes;
  }
};

void multiply_levels_reference(const LevelJob& job, const PanelRange& range) noexcept;

}  // namespace bitsmith
