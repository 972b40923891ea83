// The integer kernels' specification: one code at a time.
#include <cmath>

#include "runtime/kernels/int_job.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

uint8_t code_at(const IntLayout& layout, const uint8_t* bytes, int64_t row, int64_t col) {
  const int64_t element = (row % IntLayout::kPanelRows) * 4 + col % 4;
  const int64_t quad = col / 4;
  const uint8_t* panel = bytes + row / IntLayout::kPanelRows * layout.panel_code_bytes;
  unsigned code = 0;
  for (int i = 0; i < layout.plane_count; ++i) {
    const IntLayout::Plane& plane = layout.planes[static_cast<size_t>(i)];
    const int per_byte = 8 / plane.width;
    const unsigned byte = panel[plane.offset_bytes + quad / per_byte * 64 + element];
    const unsigned part = byte >> (quad % per_byte * plane.width) & ((1U << plane.width) - 1U);
    code |= part << plane.shift;
  }
  return static_cast<uint8_t>(code);
}

float zero_at(const IntLayout& layout, const uint8_t* bytes, int64_t row, int64_t group) {
  if (layout.symmetric) return layout.symmetric_zero();
  const uint8_t* zeros =
      bytes + layout.zeros_offset +
      (row / IntLayout::kPanelRows * layout.groups + group) * layout.group_zero_bytes();
  unsigned zero = 0;
  for (int i = 0; i < layout.bits; ++i) {
    const int64_t bit = row % IntLayout::kPanelRows * layout.bits + i;
    zero |= (zeros[bit / 8] >> (bit % 8) & 1U) << i;
  }
  return static_cast<float>(zero);
}

float scale_at(const IntLayout& layout, const uint8_t* bytes, int64_t row, int64_t group) {
  const uint8_t* scale =
      bytes + layout.scales_offset +
      ((row / IntLayout::kPanelRows * layout.groups + group) * IntLayout::kPanelRows +
       row % IntLayout::kPanelRows) *
          2;
  return f16_to_float(static_cast<uint16_t>(scale[0] | scale[1] << 8));
}

}  // namespace

void multiply_int_reference(const IntJob& job, const PanelRange& range) noexcept {
  const IntLayout& layout = *job.layout;
  const Int8Activations& x = *job.x;
  const int64_t row_end = std::min(range.panel_end * IntLayout::kPanelRows, layout.shape.rows);
  for (int64_t block = range.block_begin; block < range.block_end; ++block) {
    const int64_t first = block * Int8Activations::kBlock;
    const int64_t count = std::min(Int8Activations::kBlock, job.tokens - first);
    for (int64_t row = range.panel_begin * IntLayout::kPanelRows; row < row_end; ++row) {
      for (int64_t t = 0; t < count; ++t) {
        float y = 0;
        for (int64_t g = 0; g < x.groups; ++g) {
          const int64_t at = first * x.groups + g * count + t;  // this group of this token
          const int64_t col_begin = g * x.group_cols;
          const int64_t col_end = std::min(col_begin + x.group_cols, layout.shape.cols);
          int32_t dot = 0;
          for (int64_t c = col_begin; c < col_end; ++c) {
            dot += code_at(layout, job.bytes, row, c) *
                   x.codes[static_cast<size_t>(at * x.group_cols + c - col_begin)];
          }
          const int64_t group = col_begin / layout.group_cols;
          const float zero = zero_at(layout, job.bytes, row, group);
          const auto neg_sum = static_cast<float>(x.neg_sums[static_cast<size_t>(at)]);
          const float scale =
              scale_at(layout, job.bytes, row, group) * x.scales[static_cast<size_t>(at)];
          y = std::fma(static_cast<float>(dot) + zero * neg_sum, scale, y);
        }
        job.y[(first + t) * job.y_stride + row] = y;
      }
    }
  }
}

}  // namespace bitsmith
