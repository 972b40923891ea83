// How codes of a fixed width lie in memory: planes of digits, panels of 16 rows, quads of 4
// columns.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "codecs/codec.h"

namespace bitsmith {

// The layout that dot products read directly, shared by `int` and all codecs whose codes have a
// fixed width.
//
// A PANEL is 16 consecutive rows (the last panel is filled with zero bytes). A QUAD is 4
// consecutive columns of a panel: 64 codes, in the order
//     element j = (row % 16) * 4 + (col % 4)                  (row 0: j = 0..3, row 1: 4..7, ...)
// which is one 64-byte vector once unpacked to bytes: 16 lanes of 4 bytes, a lane per row.
//
// A code is split into digits; a PLANE holds one digit of every code of the panel.
//   bits    digits of 8, 4, 2 or 1 bits, as many of 8 as there are, then the widest first; the
//           first plane holds the lowest bits:
//     b   16   12   9    8   7      6    5    4   3    2   1
//         8+8  8+4  8+1  8   4+2+1  4+2  4+1  4   2+1  2   1
//   digits  `count` digits of base 2 or 3, lowest first; code = Σ digit_i * base^i
// A plane of base B packs n consecutive quads into one 64-byte vector, n = 8 / width for a digit of
// `width` bits and 5 for base 3: byte j of vector v holds Σ_i B^i * digit of element j of quad
// v*n + i. For bits:
//     p = 4   byte j:  | quad 2v+1, element j | quad 2v, element j |      bit 7 .. 0
//     p = 2   byte j:  | quad 4v+3 | 4v+2 | 4v+1 | 4v |
// Quads are numbered along the whole row; missing columns and quads are zero digits.
struct CodePlanes {
  static constexpr int64_t kPanelRows = 16;
  static constexpr int64_t kQuadCols = 4;
  static constexpr int64_t kVectorBytes = 64;
  static constexpr int kMaxPlanes = 12;

  // `owner` is the codec that complains: kInvalidArgument if the matrix is too large.
  static CodePlanes of_bits(std::string_view owner, const MatrixShape& shape, int bits);
  static CodePlanes of_digits(std::string_view owner, const MatrixShape& shape, int base,
                              int count);

  struct Plane {
    int width;             // bits of this plane; 0 for base 3
    int shift;             // position of its lowest bit in the code, if width > 0
    int64_t offset_bytes;  // from the start of the panel's codes
    int base;              // 2^width, or 3
    int per_vector;        // quads in a vector
    uint64_t weight;       // of the digit in the code
  };

  MatrixShape shape;
  int64_t panels = 0;
  int64_t quads = 0;  // per row
  int plane_count = 0;
  std::array<Plane, kMaxPlanes> planes{};
  int64_t panel_code_bytes = 0;

  int64_t code_bytes() const { return panels * panel_code_bytes; }
  // Rows of `panel` that exist.
  int64_t panel_rows(int64_t panel) const {
    return std::min(kPanelRows, shape.rows - panel * kPanelRows);
  }

  // codes column-major [cols][rows]; `out` has code_bytes() bytes, all zero.
  template <class Code>
  void pack(const Code* codes, uint8_t* out) const;
  // One row's codes, [cols].
  template <class Code>
  void unpack_row(const uint8_t* in, int64_t row, Code* codes) const;

 private:
  struct Digits;
  void add_plane(int width, int base, int per_vector, int shift, uint64_t weight);
};

// A multiple of 64 bytes.
inline int64_t round_up_to_vector(int64_t bytes) {
  return ceil_div(bytes, CodePlanes::kVectorBytes) * CodePlanes::kVectorBytes;
}

}  // namespace bitsmith
