// Products with weights that are a scale times a whole number: what all kernels for codecs other
// than `int` share, and their specification.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "codecs/code_planes.h"
#include "runtime/kernels/group_scales.h"
#include "runtime/kernels/linear.h"
#include "runtime/kernels/panel_range.h"

namespace bitsmith {

// Kernels' scratch begins at a cache line; its size has room for that.
inline uint8_t* align_scratch(uint8_t* scratch) {
  return scratch + (uintptr_t{64} - reinterpret_cast<uintptr_t>(scratch) % 64) % 64;
}

// One product: w[r, c] = scale of the row's group * (number[r, c] - offset), where numbers are a
// low byte and perhaps a high one: high * 2^radix_bits + low, both below 2^radix_bits. All groups
// of activations lie inside one group of weights.
struct NumberJob {
  MatrixShape shape;
  GroupScales scales;
  int64_t group_cols = 0;  // of weights
  int32_t offset = 0;
  static constexpr int kOneByte = -1;
  int radix_bits = 0;  // 7 or 8; 0: a number is one byte, below 128; kOneByte: one below 256
  const Int8Activations* x = nullptr;
  int64_t tokens = 0;
  float* y = nullptr;  // [tokens][y_stride]
  int64_t y_stride = 0;

  int64_t quads() const { return ceil_div(shape.cols, CodePlanes::kQuadCols); }
  // Groups of activations per group of weights.
  int64_t groups_per_scale() const {
    return std::max<int64_t>(1, ceil_div(group_cols, x->group_cols));
  }
  // Bytes that a panel's numbers take: [quads, rounded up to 8][64] low ones, then high ones.
  int64_t plane_bytes() const { return ceil_div(quads(), 8) * 8 * CodePlanes::kVectorBytes; }
  int64_t scratch_bytes() const { return plane_bytes() * (radix_bits > 0 ? 2 : 1) + 64; }
};

// The activations of one token, of each 4 blocks of `dim` columns [dim][4] instead of [4][dim].
inline std::vector<int8_t> codes_by_element(const std::vector<int8_t>& codes, int64_t dim_in) {
  const auto dim = static_cast<size_t>(dim_in);
  std::vector<int8_t> result(codes.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t within = i % (4 * dim);
    result[i - within + within % dim * 4 + within / dim] = codes[i];
  }
  return result;
}

// The specification. For every row r and token t, with g running over the groups of activations in
// ascending order, starting from y = 0:
//     dot = sum over the group's columns of (number[r, c] - offset) * x_code[t, c]
//     y   = fma(float(dot), weight_scale * x_scale, y)
// where dot is exact in int32 (its magnitude is below 2^28; the conversion to float32 rounds), and
// weight_scale (group_scales.h) * x_scale is rounded to float32.
//   number_at(row, col)  the codec's part
template <class NumberAt>
void multiply_numbers_reference(const NumberJob& job, const PanelRange& range,
                                const NumberAt& number_at) noexcept {
  const Int8Activations& x = *job.x;
  const int64_t row_end = std::min(range.panel_end * CodePlanes::kPanelRows, job.shape.rows);
  for (int64_t block = range.block_begin; block < range.block_end; ++block) {
    const int64_t first = block * Int8Activations::kBlock;
    const int64_t count = std::min(Int8Activations::kBlock, job.tokens - first);
    for (int64_t row = range.panel_begin * CodePlanes::kPanelRows; row < row_end; ++row) {
      for (int64_t t = 0; t < count; ++t) {
        float y = 0;
        for (int64_t g = 0; g < x.groups; ++g) {
          const int64_t at = first * x.groups + g * count + t;  // this group of this token
          const int64_t begin = g * x.group_cols;
          const int64_t end = std::min(begin + x.group_cols, job.shape.cols);
          int32_t dot = 0;
          for (int64_t c = begin; c < end; ++c) {
            dot += (number_at(row, c) - job.offset) *
                   x.codes[static_cast<size_t>(at * x.group_cols + c - begin)];
          }
          const float scale = job.scales.at(row, begin / job.group_cols);
          y = std::fma(static_cast<float>(dot), scale * x.scales[static_cast<size_t>(at)], y);
        }
        job.y[(first + t) * job.y_stride + row] = y;
      }
    }
  }
}

}  // namespace bitsmith
