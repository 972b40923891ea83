// Byte layout of the codec `int`: uniform integer codes of 1 to 8 bits in groups along a row.
#pragma once

#include <cstdint>

#include "codecs/code_planes.h"
#include "codecs/scales.h"

namespace bitsmith {

// Codes lie as code_planes.h says: the layout that integer dot products read directly, so files are
// used as they lie.
//
// The tensor's bytes are up to four sections, each of which starts at a multiple of 64 bytes:
//     codes   for each panel: its planes
//     scales  for each panel, for each group: 16 scales (scales.h), one per row of the panel
//     zeros   (asymmetric only) for each panel, for each group: 16 zero points of b bits, row 0 in
//             the lowest bits of the first byte, 2*b bytes
//     unit    (where scales have one) the binary32 that all scales are multiplied by
// and are filled with zero bytes to a multiple of 64.
//
// Value of a code:  w = scale * (code - zero).  Symmetric: zero = 2^(b-1), or 1/2 when b = 1.
// Scales of binary16 and binary32 may be negative.
//
// Rejected: rows one after the other. It saves the padding of the last panel, but a dot product
// then has to be summed across lanes for every row, or the weights repacked at load.
struct IntLayout : CodePlanes {
  // `group` as in the options: 0 means the whole row.
  IntLayout(const MatrixShape& shape, int bits, int64_t group, bool symmetric,
            ScaleFormat scale_format = ScaleFormat::kF16);
  IntLayout(const MatrixShape& shape, const Options& options);

  int bits;
  bool symmetric;
  ScaleFormat scale_format;
  int64_t group_cols;  // columns per group, at most cols
  int64_t groups;      // per row
  int64_t scales_offset = 0;
  int64_t zeros_offset = 0;
  int64_t unit_offset = 0;  // equals total_bytes where there is none
  int64_t total_bytes = 0;

  int64_t panel_scale_bytes() const { return groups * kPanelRows * scale_bytes(scale_format); }
  int64_t group_zero_bytes() const { return 2 * bits; }
  // The zero point of symmetric codes.
  float symmetric_zero() const { return bits == 1 ? 0.5F : static_cast<float>(1 << (bits - 1)); }

  // The parameters of a group in the tensor's bytes.
  float scale(const uint8_t* in, int64_t row, int64_t group) const;
  float zero(const uint8_t* in, int64_t row, int64_t group) const;
  uint32_t scale_pattern(const uint8_t* in, int64_t row, int64_t group) const;
  float unit(const uint8_t* in) const;  // 1 where there is none
  // Writes them; the bytes of the zero point were 0. `zero` is below 2^bits, of no use if
  // symmetric.
  void set_parameters(int64_t row, int64_t group, uint32_t scale_pattern, uint32_t zero,
                      uint8_t* out) const;
  void set_unit(float unit, uint8_t* out) const;
};

}  // namespace bitsmith
