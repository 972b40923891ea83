// Byte layout of the codec `int`: uniform integer codes of 1 to 8 bits in groups along a row.
#pragma once

#include <array>
#include <cstdint>

#include "codecs/codec.h"

namespace bitsmith {

// The layout is the one that integer dot products read directly, so files are used as they lie.
//
// A PANEL is 16 consecutive rows (the last panel is filled with zero bytes). A QUAD is 4
// consecutive columns of a panel: 64 codes, in the order
//     element j = (row % 16) * 4 + (col % 4)                        (row 0: j = 0..3, row 1: 4..7,
//     ...)
// which is one 64-byte vector once unpacked to bytes: 16 lanes of 4 bytes, a lane per row.
//
// A code of b bits is split into PLANES of 8, 4, 2 or 1 bits, the widest holding the lowest bits:
//     b   8    7      6    5    4   3    2   1
//         8   4+2+1  4+2  4+1   4  2+1   2   1
// A plane of width p packs 8/p consecutive quads into one 64-byte vector: byte j of vector v holds
// element j of quad v*8/p + i in its bits [p*i, p*i + p), i = 0 .. 8/p-1:
//
//     p = 4   byte j:  | quad 2v+1, element j | quad 2v, element j |      bit 7 .. 0
//     p = 2   byte j:  | quad 4v+3 | 4v+2 | 4v+1 | 4v |
//
// Quads are numbered along the whole row, over all groups; missing columns and quads are zero bits.
//
// The tensor's bytes are three sections, each of which starts at a multiple of 64 bytes:
//     codes   for each panel: its planes, widest first, each ceil(quads * p / 8) vectors of 64
//     bytes scales  for each panel, for each group: 16 binary16, one per row of the panel zeros
//     (asymmetric only) for each panel, for each group: 16 zero points of b bits, row 0 in the
//             lowest bits of the first byte, 2*b bytes
// and are filled with zero bytes to a multiple of 64.
//
// Value of a code:  w = scale * (code - zero).  Symmetric: zero = 2^(b-1), or 1/2 when b = 1.
// Scales may be negative.
//
// Rejected: rows one after the other. It saves the padding of the last panel, but a dot product
// then has to be summed across lanes for every row, or the weights repacked at load.
struct IntLayout {
  static constexpr int64_t kPanelRows = 16;
  static constexpr int64_t kQuadCols = 4;
  static constexpr int64_t kVectorBytes = 64;

  // `group` as in the options: 0 means the whole row.
  IntLayout(const MatrixShape& shape, int bits, int64_t group, bool symmetric);

  MatrixShape shape;
  int bits;
  bool symmetric;
  int64_t group_cols;  // columns per group, at most cols
  int64_t groups;      // per row
  int64_t panels;
  int64_t quads;  // per row

  struct Plane {
    int width;             // bits of this plane
    int shift;             // position of its lowest bit in the code
    int64_t offset_bytes;  // from the start of the panel's codes
  };
  int plane_count = 0;
  std::array<Plane, 3> planes{};  // widest first

  int64_t panel_code_bytes = 0;
  int64_t scales_offset = 0;
  int64_t zeros_offset = 0;  // equals total_bytes when symmetric
  int64_t total_bytes = 0;

  int64_t panel_scale_bytes() const { return groups * kPanelRows * 2; }
  int64_t group_zero_bytes() const { return 2 * bits; }
  // The zero point of symmetric codes.
  float symmetric_zero() const { return bits == 1 ? 0.5F : static_cast<float>(1 << (bits - 1)); }
};

}  // namespace bitsmith
