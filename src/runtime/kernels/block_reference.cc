// The specification of the kernels for ggml's blocks: one code at a time.
#include <algorithm>
#include <cmath>

#include "runtime/kernels/block_job.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

int32_t code_at(const BlockJob& job, int64_t row, int64_t col) {
  const uint8_t* panel = job.panels + row / CodePlanes::kPanelRows * job.panel_bytes();
  const int64_t quad = col / CodePlanes::kQuadCols;
  int32_t code = 0;
  for (int i = 0; i < job.planes.plane_count; ++i) {
    const CodePlanes::Plane& plane = job.planes.planes[static_cast<size_t>(i)];
    const int byte =
        panel[plane.offset_bytes + quad / plane.per_vector * 64 + row % 16 * 4 + col % 4];
    const int digit = byte >> (quad % plane.per_vector * plane.width) & ((1 << plane.width) - 1);
    code |= digit << plane.shift;
  }
  return code;
}

float half_at(const uint8_t* bytes, int64_t row) {
  return f16_to_float(static_cast<uint16_t>(bytes[row % 16 * 2] | bytes[row % 16 * 2 + 1] << 8));
}

}  // namespace

void multiply_blocks_reference(const BlockJob& job, const PanelRange& range) noexcept {
  const Int8Activations& x = *job.x;
  const int64_t subs = job.block_cols / job.sub_cols;
  const int64_t row_end = std::min(range.panel_end * CodePlanes::kPanelRows, job.planes.shape.rows);
  for (int64_t block = range.block_begin; block < range.block_end; ++block) {
    const int64_t first = block * Int8Activations::kBlock;
    const int64_t count = std::min(Int8Activations::kBlock, job.tokens - first);
    for (int64_t row = range.panel_begin * CodePlanes::kPanelRows; row < row_end; ++row) {
      for (int64_t t = 0; t < count; ++t) {
        float y = 0;
        for (int64_t g = 0; g < x.groups;) {
          const uint8_t* head =
              job.parameters(row / CodePlanes::kPanelRows) + g / subs * job.block_bytes();
          const uint8_t* sub = head + job.head_bytes() + row % 16;
          float whole = 0;
          float least = 0;
          for (int64_t end = g + subs; g < end; ++g, sub += job.sub_bytes()) {
            const auto at = static_cast<size_t>(first * x.groups + g * count + t);
            int32_t dot = 0;
            for (int64_t c = 0; c < job.sub_cols; ++c) {
              dot += (code_at(job, row, g * job.sub_cols + c) - job.zero) *
                     x.codes[at * static_cast<size_t>(job.sub_cols) + static_cast<size_t>(c)];
            }
            const auto factor = static_cast<float>(static_cast<int8_t>(sub[0]));
            whole = std::fma(static_cast<float>(dot), factor * x.scales[at], whole);
            if (!job.has_min) continue;
            const float neg_sum = static_cast<float>(x.neg_sums[at]) * x.scales[at];
            least = std::fma(static_cast<float>(sub[16]), neg_sum, least);
          }
          y = std::fma(half_at(head, row), whole, y);
          if (job.has_min) y = std::fma(half_at(head + 32, row), least, y);
        }
        job.y[(first + t) * job.y_stride + row] = y;
      }
    }
  }
}

}  // namespace bitsmith
