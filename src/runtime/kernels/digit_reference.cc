// The specification of the kernels for planes of digits: one digit at a time.
#include <cmath>

#include "runtime/kernels/digit_job.h"

namespace bitsmith {
namespace {

int digit_at(const DigitJob& job, size_t p, int64_t row, int64_t col) {
  const CodePlanes& codes = job.matrix->layout.codes;
  const CodePlanes::Plane& plane = codes.planes[p];
  const int64_t quad = col / CodePlanes::kQuadCols;
  int byte = job.codes[row / CodePlanes::kPanelRows * codes.panel_code_bytes + plane.offset_bytes +
                       quad / plane.per_vector * CodePlanes::kVectorBytes +
                       row % CodePlanes::kPanelRows * CodePlanes::kQuadCols + col % 4];
  for (int64_t i = quad % plane.per_vector; i > 0; --i) byte /= plane.base;
  return byte % plane.base;
}

}  // namespace

void multiply_digits_reference(const DigitJob& job, const PanelRange& range) noexcept {
  const DigitMatrix& matrix = *job.matrix;
  const Int8Activations& x = *job.x;
  const MatrixShape& shape = matrix.layout.shape();
  const int64_t row_end = std::min(range.panel_end * CodePlanes::kPanelRows, shape.rows);
  for (int64_t block = range.block_begin; block < range.block_end; ++block) {
    const int64_t first = block * Int8Activations::kBlock;
    const int64_t count = std::min(Int8Activations::kBlock, job.tokens - first);
    for (int64_t row = range.panel_begin * CodePlanes::kPanelRows; row < row_end; ++row) {
      for (int64_t t = 0; t < count; ++t) {
        float y = 0;
        for (int64_t g = 0; g < x.groups; ++g) {
          const auto at = static_cast<size_t>(first * x.groups + g * count + t);
          const int8_t* codes = x.codes.data() + at * static_cast<size_t>(x.group_cols);
          const int64_t begin = g * x.group_cols;
          const int64_t end = std::min(begin + x.group_cols, shape.cols);
          const int64_t group = begin / matrix.layout.group_cols;
          for (size_t p = 0; p < static_cast<size_t>(matrix.planes()); ++p) {
            int32_t dot = 0;
            for (int64_t c = begin; c < end; ++c) {
              const int digit = digit_at(job, p, row, c);
              dot += (matrix.lowest + matrix.step * digit) * codes[c - begin];
            }
            const float scale = job.scales[p].at(row, group) * x.scales[at];
            y = std::fma(static_cast<float>(dot), scale, y);
          }
          if (matrix.has_mean) {
            const float scale = job.mean.at(row, group) * x.scales[at];
            y = std::fma(static_cast<float>(-x.neg_sums[at]), scale, y);
          }
        }
        job.y[(first + t) * job.y_stride + row] = y;
      }
    }
  }
}

}  // namespace bitsmith
