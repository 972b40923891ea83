// Products with weights in ggml's blocks of uniform codes, rearranged.
#pragma once

#include <span>

#include "codecs/code_planes.h"
#include "runtime/kernels/linear.h"
#include "runtime/kernels/panel_range.h"

namespace bitsmith {

// One product. A row is cut into blocks of 32 or 256 columns, a block into sub-blocks of 16 or 32,
// as wide as the groups of activations:
//     w[r, c] = d * factor * (code - zero) - m * min
// with d and m of the row's block, factor and min of its sub-block. Codes lie as code_planes.h
// says, each panel of 16 rows followed by its parameters, block after block:
//     d [16] binary16 | m [16] binary16, if there are minima
//     for each sub-block: factor [16] | min [16], if there are minima
// Factors are signed bytes, minima unsigned ones.
struct BlockJob {
  CodePlanes planes;
  int bits = 0;  // 2 to 6
  int32_t zero = 0;
  bool has_min = false;
  int64_t block_cols = 0;
  int64_t sub_cols = 0;
  const uint8_t* panels = nullptr;
  const Int8Activations* x = nullptr;  // groups of sub_cols
  int64_t tokens = 0;
  float* y = nullptr;  // [tokens][y_stride]
  int64_t y_stride = 0;

  // The combinations that ggml has: 32 columns always with minima, 16 only with 2 bits.
  bool is_supported() const {
    const bool wide = bits == 4 || bits == 5;
    if (bits < 2 || bits > 6 || block_cols % 32 != 0 || sub_cols != (wide ? 32 : 16)) return false;
    return has_min == (wide || bits == 2);
  }
  int64_t sub_bytes() const { return has_min ? 32 : 16; }
  int64_t head_bytes() const { return has_min ? 64 : 32; }
  int64_t block_bytes() const { return head_bytes() + block_cols / sub_cols * sub_bytes(); }
  int64_t panel_bytes() const {
    return planes.panel_code_bytes + planes.shape.cols / block_cols * block_bytes();
  }
  const uint8_t* parameters(int64_t panel) const {
    return panels + panel * panel_bytes() + planes.panel_code_bytes;
  }
  // Bytes of a panel's codes unpacked, [quads][64], and room to align them.
  int64_t scratch_bytes() const { return planes.quads * CodePlanes::kVectorBytes + 64; }
};

// The specification. For every row r and token t, block by block from y = 0, and in a block with g
// running over its sub-blocks from whole = least = 0, all in float32:
//     dot   = sum over the columns of (code[r, c] - zero) * x_code[t, c]           exact, int32
//     whole = fma(dot, factor * x_scale, whole)
//     least = fma(min, -(sum of x_code) * x_scale, least)                          with minima
// and then
//     y = fma(d, whole, y)
//     y = fma(m, least, y)                                                         with minima
void multiply_blocks_reference(const BlockJob& job, const PanelRange& range) noexcept;

// The same, bit for bit, by the kernels for the best target of this CPU. Scratch:
// job.scratch_bytes().
void multiply_ggml_blocks(const BlockJob& job, const PanelRange& range,
                          std::span<uint8_t> scratch) noexcept;

}  // namespace bitsmith
