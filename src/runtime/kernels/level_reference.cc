// The specification of the kernels for scaled levels: one code at a time.
#include "runtime/kernels/level_job.h"

namespace bitsmith {
namespace {

unsigned code_at(const LevelJob& job, int64_t row, int64_t col) {
  const CodePlanes& planes = *job.planes;
  const int64_t element = row % CodePlanes::kPanelRows * CodePlanes::kQuadCols + col % 4;
  const int64_t quad = col / CodePlanes::kQuadCols;
  const uint8_t* panel = job.codes + row / CodePlanes::kPanelRows * planes.panel_code_bytes;
  unsigned code = 0;
  for (int i = 0; i < planes.plane_count; ++i) {
    const CodePlanes::Plane& plane = planes.planes[static_cast<size_t>(i)];
    const int64_t vector = quad / plane.per_vector;
    const unsigned byte = panel[plane.offset_bytes + vector * CodePlanes::kVectorBytes + element];
    const unsigned digit = byte >> (quad % plane.per_vector * plane.width);
    code |= (digit & ((1u << plane.width) - 1u)) << plane.shift;
  }
  return code;
}

int32_t number_at(const LevelJob& job, int64_t row, unsigned code) {
  if (job.row_tables == nullptr) return job.table->high[code] * 128 + job.table->low[code];
  const uint8_t* low = job.row_tables + row / 16 * job.panel_table_bytes() + row % 16 * 16 + code;
  return job.radix_bits == 7 ? low[LevelJob::kRowTableBytes] * 128 + low[0] : low[0];
}

}  // namespace

void multiply_levels_reference(const LevelJob& job, const PanelRange& range) noexcept {
  multiply_numbers_reference(job, range, [&](int64_t row, int64_t col) {
    return number_at(job, row, code_at(job, row, col));
  });
}

}  // namespace bitsmith
