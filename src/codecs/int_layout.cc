#include "codecs/int_layout.h"

#include <algorithm>
#include <cstring>

#include "tensor/dtype.h"

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

float IntLayout::scale(const uint8_t* in, int64_t row, int64_t group) const {
  return f16_to_float(scale_bits(in, row, group));
}

uint16_t IntLayout::scale_bits(const uint8_t* in, int64_t row, int64_t group) const {
  const int64_t vector = row / kPanelRows * groups + group;
  const int64_t index = vector * kPanelRows + row % kPanelRows;
  uint16_t number;
  std::memcpy(&number, in + scales_offset + 2 * index, sizeof(number));
  return number;
}

void IntLayout::set_parameters(int64_t row, int64_t group, uint16_t scale_bits, uint32_t zero,
                               uint8_t* out) const {
  const int64_t vector = row / kPanelRows * groups + group;
  uint8_t* const scale = out + scales_offset + 2 * (vector * kPanelRows + row % kPanelRows);
  std::memcpy(scale, &scale_bits, sizeof(scale_bits));
  if (symmetric) return;
  uint8_t* const zeros = out + zeros_offset + vector * group_zero_bytes();
  for (int bit = 0; bit < bits; ++bit) {
    const int64_t position = row % kPanelRows * bits + bit;
    const uint32_t value = ((zero >> bit) & 1u) << (position % 8);
    zeros[position / 8] = static_cast<uint8_t>(zeros[position / 8] | value);
  }
}

float IntLayout::zero(const uint8_t* in, int64_t row, int64_t group) const {
  if (symmetric) return symmetric_zero();
  const int64_t vector = row / kPanelRows * groups + group;
  const uint8_t* zeros = in + zeros_offset + vector * group_zero_bytes();
  int zero = 0;
  for (int bit = 0; bit < bits; ++bit) {
    const int64_t position = row % kPanelRows * bits + bit;
    zero |= ((zeros[position / 8] >> (position % 8)) & 1) << bit;
  }
  return static_cast<float>(zero);
}

}  // namespace bitsmith
