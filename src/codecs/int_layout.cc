#include "codecs/int_layout.h"

#include <algorithm>
#include <cstring>

#include "tensor/dtype.h"

namespace bitsmith {

IntLayout::IntLayout(const MatrixShape& shape_in, int bits_in, int64_t group, bool symmetric_in,
                     ScaleFormat scale_format_in)
    : CodePlanes(of_bits("int", shape_in, bits_in)),
      bits(bits_in),
      symmetric(symmetric_in),
      scale_format(scale_format_in) {
  group_cols = group <= 0 ? shape.cols : std::min(group, shape.cols);
  groups = group_cols > 0 ? ceil_div(shape.cols, group_cols) : 0;
  scales_offset = code_bytes();
  zeros_offset = round_up_to_vector(scales_offset + panels * panel_scale_bytes());
  unit_offset = symmetric ? zeros_offset
                          : round_up_to_vector(zeros_offset + panels * groups * group_zero_bytes());
  total_bytes = round_up_to_vector(unit_offset + (has_tensor_scale(scale_format) ? 4 : 0));
}

IntLayout::IntLayout(const MatrixShape& shape_in, const Options& options)
    : IntLayout(shape_in, static_cast<int>(options.integer("bits")), options.integer("group"),
                options.flag("symmetric"), parse_scale_format(options.text("scale"))) {}

float IntLayout::unit(const uint8_t* in) const {
  float unit = 1.0F;
  if (unit_offset < total_bytes) std::memcpy(&unit, in + unit_offset, sizeof(unit));
  return unit;
}

void IntLayout::set_unit(float unit, uint8_t* out) const {
  if (unit_offset < total_bytes) std::memcpy(out + unit_offset, &unit, sizeof(unit));
}

float IntLayout::scale(const uint8_t* in, int64_t row, int64_t group) const {
  return decode_scale(scale_format, scale_pattern(in, row, group), unit(in));
}

uint32_t IntLayout::scale_pattern(const uint8_t* in, int64_t row, int64_t group) const {
  const int64_t vector = row / kPanelRows * groups + group;
  const int64_t index = vector * kPanelRows + row % kPanelRows;
  const int size = scale_bytes(scale_format);
  uint32_t pattern = 0;
  std::memcpy(&pattern, in + scales_offset + size * index, static_cast<size_t>(size));
  return pattern;
}

void IntLayout::set_parameters(int64_t row, int64_t group, uint32_t scale_pattern, uint32_t zero,
                               uint8_t* out) const {
  const int64_t vector = row / kPanelRows * groups + group;
  const int size = scale_bytes(scale_format);
  uint8_t* const scale = out + scales_offset + size * (vector * kPanelRows + row % kPanelRows);
  std::memcpy(scale, &scale_pattern, static_cast<size_t>(size));
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
