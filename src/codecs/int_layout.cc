#include "codecs/int_layout.h"

#include <algorithm>

namespace bitsmith {

IntLayout::IntLayout(const MatrixShape& shape_in, int bits_in, int64_t group, bool symmetric_in)
    : CodePlanes(of_bits("int", shape_in, bits_in)), bits(bits_in), symmetric(symmetric_in) {
  group_cols = group <= 0 ? shape.cols : std::min(group, shape.cols);
  groups = group_cols > 0 ? ceil_div(shape.cols, group_cols) : 0;
  scales_offset = code_bytes();
  zeros_offset = round_up_to_vector(scales_offset + panels * panel_scale_bytes());
  total_bytes = symmetric ? zeros_offset
                          : round_up_to_vector(zeros_offset + panels * groups * group_zero_bytes());
}

}  // namespace bitsmith
