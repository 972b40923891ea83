#include "codecs/int_layout.h"

#include <algorithm>

namespace bitsmith {
namespace {

int64_t round_up(int64_t bytes) {
  return ceil_div(bytes, IntLayout::kVectorBytes) * IntLayout::kVectorBytes;
}

}  // namespace

IntLayout::IntLayout(const MatrixShape& shape_in, int bits_in, int64_t group, bool symmetric_in)
    : shape(shape_in), bits(bits_in), symmetric(symmetric_in) {
  // Far above any tensor, far below overflow of the products below.
  constexpr int64_t kMaxElements = int64_t{1} << 48;
  if (shape.rows < 0 || shape.cols < 0 || shape.rows > kMaxElements || shape.cols > kMaxElements ||
      (shape.cols > 0 && shape.rows > kMaxElements / shape.cols)) {
    fail(ErrorCode::kInvalidArgument, "codec 'int': a matrix of {} x {} is too large", shape.rows,
         shape.cols);
  }
  group_cols = group <= 0 ? shape.cols : std::min(group, shape.cols);
  groups = group_cols > 0 ? ceil_div(shape.cols, group_cols) : 0;
  panels = ceil_div(shape.rows, kPanelRows);
  quads = ceil_div(shape.cols, kQuadCols);
  int shift = 0;
  for (const int width : {8, 4, 2, 1}) {
    if ((bits & width) == 0) continue;
    planes[static_cast<size_t>(plane_count++)] = {width, shift, panel_code_bytes};
    shift += width;
    panel_code_bytes += ceil_div(quads * width, 8) * kVectorBytes;
  }
  scales_offset = panels * panel_code_bytes;
  zeros_offset = round_up(scales_offset + panels * panel_scale_bytes());
  total_bytes =
      symmetric ? zeros_offset : round_up(zeros_offset + panels * groups * group_zero_bytes());
}

}  // namespace bitsmith
