#include "formats/tensor_error.h"

#include <bit>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/interrupt.h"

namespace bitsmith {

double relative_error(const CodedTensor& a, const CodedTensor& b) {
  constexpr int64_t kRows = 64;
  const MatrixShape shape = a.matrix();
  BITSMITH_ASSERT(b.matrix() == shape);
  std::vector<float> x;
  std::vector<float> y;
  double squares = 0;
  double changes = 0;
  for (int64_t row = 0; row < shape.rows; row += kRows) {
    check_interrupt();
    const int64_t count = std::min(kRows, shape.rows - row);
    x.resize(static_cast<size_t>(count * shape.cols));
    y.resize(x.size());
    a.decode(row, count, x.data());
    b.decode(row, count, y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      if (std::bit_cast<uint32_t>(x[i]) == std::bit_cast<uint32_t>(y[i]) && !std::isfinite(x[i])) {
        continue;
      }
      const double d = double{x[i]} - double{y[i]};
      if (!std::isfinite(d)) return std::numeric_limits<double>::infinity();
      changes += d * d;
      squares += double{x[i]} * double{x[i]};
    }
  }
  return changes == 0 ? 0 : std::sqrt(changes / squares);
}

}  // namespace bitsmith
