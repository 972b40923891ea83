// The specification of the kernels for the codec `trellis`: one state at a time.
#include <cstring>

#include "runtime/kernels/trellis_job.h"

namespace bitsmith {

uint32_t TrellisJob::state(int64_t row, int64_t col) const {
  const int64_t tile = col / TrellisLayout::kTileCols;
  const int64_t length = layout->tile_cols(tile) * layout->bits;
  const int64_t end = (col % TrellisLayout::kTileCols + 1) * layout->bits;
  uint32_t result = 0;
  for (int64_t i = end - 16; i < end; ++i) {
    const int64_t bit = i < 0 ? i + length : i;
    uint32_t word;
    std::memcpy(&word, words + layout->word_offset(row, tile * layout->tile_words() + bit / 32), 4);
    result = result << 1 | (word >> (31 - bit % 32) & 1u);
  }
  return result;
}

void multiply_trellis_reference(const TrellisJob& job, const PanelRange& range) noexcept {
  multiply_numbers_reference(job, range, [&](int64_t row, int64_t col) {
    return int32_t{job.numbers[job.state(row, col)]};
  });
}

}  // namespace bitsmith
