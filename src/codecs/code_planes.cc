#include "codecs/code_planes.h"

#include <algorithm>

namespace bitsmith {
namespace {

CodePlanes empty_planes(std::string_view owner, const MatrixShape& shape) {
  // Far above any tensor, far below overflow of the products of sizes.
  constexpr int64_t kMaxElements = int64_t{1} << 48;
  if (shape.rows < 0 || shape.cols < 0 || shape.rows > kMaxElements || shape.cols > kMaxElements ||
      (shape.cols > 0 && shape.rows > kMaxElements / shape.cols)) {
    fail(ErrorCode::kInvalidArgument, "codec '{}': a matrix of {} x {} is too large", owner,
         shape.rows, shape.cols);
  }
  CodePlanes planes;
  planes.shape = shape;
  planes.panels = ceil_div(shape.rows, CodePlanes::kPanelRows);
  planes.quads = ceil_div(shape.cols, CodePlanes::kQuadCols);
  return planes;
}

}  // namespace

void CodePlanes::add_plane(int width, int base, int per_vector, int shift, uint64_t weight) {
  BITSMITH_ASSERT(plane_count < kMaxPlanes);
  planes[static_cast<size_t>(plane_count++)] = {width, shift,      panel_code_bytes,
                                                base,  per_vector, weight};
  panel_code_bytes += ceil_div(quads, per_vector) * kVectorBytes;
}

CodePlanes CodePlanes::of_bits(std::string_view owner, const MatrixShape& shape, int bits) {
  BITSMITH_ASSERT(bits >= 1 && bits <= 64);
  CodePlanes planes = empty_planes(owner, shape);
  int shift = 0;
  for (const int width : {8, 4, 2, 1}) {
    while (bits - shift >= width) {
      planes.add_plane(width, 1 << width, 8 / width, shift, uint64_t{1} << shift);
      shift += width;
    }
  }
  return planes;
}

CodePlanes CodePlanes::of_digits(std::string_view owner, const MatrixShape& shape, int base,
                                 int count) {
  BITSMITH_ASSERT(base == 2 || base == 3);
  CodePlanes planes = empty_planes(owner, shape);
  uint64_t weight = 1;
  for (int i = 0; i < count; ++i, weight *= static_cast<uint64_t>(base)) {
    if (base == 2) {
      planes.add_plane(1, 2, 8, i, weight);
    } else {
      planes.add_plane(0, 3, 5, 0, weight);
    }
  }
  return planes;
}

// Where the digits of one plane lie in the bytes of a vector.
struct CodePlanes::Digits {
  const Plane& plane;
  unsigned mask;

  explicit Digits(const Plane& p) : plane(p), mask(static_cast<unsigned>(p.base) - 1) {}

  unsigned of_code(uint64_t code) const {
    return plane.width > 0 ? static_cast<unsigned>(code >> plane.shift) & mask
                           : static_cast<unsigned>(code / plane.weight % 3);
  }
  // The digit of the quad `place` in its vector, at its place in the byte, and back.
  unsigned placed(unsigned digit, int64_t place) const {
    return plane.width > 0 ? digit << (place * plane.width) : digit * kPowersOf3[place];
  }
  unsigned of_byte(unsigned byte, int64_t place) const {
    return plane.width > 0 ? byte >> (place * plane.width) & mask : byte / kPowersOf3[place] % 3;
  }

  static constexpr std::array<unsigned, 5> kPowersOf3 = {1, 3, 9, 27, 81};
};

template <class Code>
void CodePlanes::pack(const Code* codes, uint8_t* out) const {
  for (int i = 0; i < plane_count; ++i) {
    const Digits digits(planes[static_cast<size_t>(i)]);
    const int64_t per_vector = digits.plane.per_vector;
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t lanes = panel_rows(panel);
      uint8_t* vectors = out + panel * panel_code_bytes + digits.plane.offset_bytes;
      for (int64_t col = 0; col < shape.cols; ++col) {
        const int64_t quad = col / kQuadCols;
        uint8_t* vector = vectors + quad / per_vector * kVectorBytes + col % kQuadCols;
        const Code* code = codes + col * shape.rows + panel * kPanelRows;
        for (int64_t r = 0; r < lanes; ++r) {
          uint8_t& byte = vector[r * kQuadCols];
          const unsigned digit = digits.placed(digits.of_code(code[r]), quad % per_vector);
          byte = static_cast<uint8_t>(byte + digit);
        }
      }
    }
  }
}

template <class Code>
void CodePlanes::unpack_row(const uint8_t* in, int64_t row, Code* codes) const {
  std::fill_n(codes, shape.cols, Code{0});
  const uint8_t* panel = in + row / kPanelRows * panel_code_bytes;
  const int64_t lane = row % kPanelRows * kQuadCols;
  for (int i = 0; i < plane_count; ++i) {
    const Digits digits(planes[static_cast<size_t>(i)]);
    const int64_t per_vector = digits.plane.per_vector;
    for (int64_t col = 0; col < shape.cols; ++col) {
      const int64_t quad = col / kQuadCols;
      const unsigned byte = panel[digits.plane.offset_bytes + quad / per_vector * kVectorBytes +
                                  lane + col % kQuadCols];
      const uint64_t digit = digits.of_byte(byte, quad % per_vector);
      codes[col] = static_cast<Code>(codes[col] + digit * digits.plane.weight);
    }
  }
}

template void CodePlanes::pack(const uint8_t*, uint8_t*) const;
template void CodePlanes::pack(const uint16_t*, uint8_t*) const;
template void CodePlanes::pack(const uint64_t*, uint8_t*) const;
template void CodePlanes::unpack_row(const uint8_t*, int64_t, uint8_t*) const;
template void CodePlanes::unpack_row(const uint8_t*, int64_t, uint16_t*) const;
template void CodePlanes::unpack_row(const uint8_t*, int64_t, uint64_t*) const;

}  // namespace bitsmith
