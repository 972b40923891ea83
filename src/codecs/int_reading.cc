#include "codecs/int_reading.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "codecs/int_fit.h"
#include "core/error.h"
#include "tensor/dtype.h"

namespace bitsmith {

namespace {

// x / 2^shift, ties to even.
int rounded(int x, int shift) {
  const int down = x >> shift;
  const int rest = x - (down << shift);
  const int half = 1 << (shift - 1);
  return down + (rest > half || (rest == half && down % 2 != 0) ? 1 : 0);
}

// The pattern of scale * 2^shift, where the unit of the tensor does not take the factor.
uint32_t shifted_scale(const IntLayout& from, const uint8_t* in, int64_t row, int64_t group,
                       int shift) {
  const uint32_t pattern = from.scale_pattern(in, row, group);
  switch (from.scale_format) {
    case ScaleFormat::kF16:
      return float_to_f16(
          round_to_f16(from.scale(in, row, group) * static_cast<float>(1 << shift)));
    case ScaleFormat::kF32:
      return std::bit_cast<uint32_t>(from.scale(in, row, group) * static_cast<float>(1 << shift));
    case ScaleFormat::kE8m0:
      return std::min(pattern + static_cast<uint32_t>(shift), largest_scale(from.scale_format));
    default:
      return pattern;
  }
}

}  // namespace

void read_int_codes(const IntLayout& from, const uint8_t* in, const IntLayout& to, uint8_t* out) {
  BITSMITH_ASSERT(to.bits >= 2 && to.bits < from.bits && to.group_cols == from.group_cols &&
                  to.symmetric == from.symmetric && to.scale_format == from.scale_format);
  std::fill_n(out, to.total_bytes, uint8_t{0});
  to.set_unit(from.unit(in) * static_cast<float>(1 << (from.bits - to.bits)), out);
  const auto [rows, cols] = from.shape;
  const int shift = from.bits - to.bits;
  const int max_code = (1 << to.bits) - 1;
  std::vector<uint8_t> row_codes(static_cast<size_t>(cols));
  std::vector<uint8_t> codes(static_cast<size_t>(cols * rows));  // [cols][rows]
  for (int64_t row = 0; row < rows; ++row) {
    from.unpack_row(in, row, row_codes.data());
    for (int64_t group = 0; group < from.groups; ++group) {
      const int zero = static_cast<int>(from.zero(in, row, group));
      const int new_zero = std::min(rounded(zero, shift), max_code);
      to.set_parameters(row, group, shifted_scale(from, in, row, group, shift),
                        static_cast<uint32_t>(new_zero), out);
      const int64_t end = std::min((group + 1) * from.group_cols, cols);
      for (int64_t c = group * from.group_cols; c < end; ++c) {
        const int distance = static_cast<int>(row_codes[static_cast<size_t>(c)]) - zero;
        const int code = rounded(distance, shift) + new_zero;
        codes[static_cast<size_t>(c * rows + row)] =
            static_cast<uint8_t>(std::clamp(code, 0, max_code));
      }
    }
  }
  to.pack(codes.data(), out);
}

}  // namespace bitsmith
