#include "formats/tensor_error.h"

#include <cmath>

#include "core/error.h"

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
    const int64_t count = std::min(kRows, shape.rows - row);
    x.resize(static_cast<size_t>(count * shape.cols));
    y.resize(x.size());
    a.decode(row, count, x.data());
    b.decode(row, count, y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] != y[i]) changes += (double{x[i]} - double{y[i]}) * (double{x[i]} - double{y[i]});
      squares += double{x[i]} * double{x[i]};
    }
  }
  return changes == 0 ? 0 : std::sqrt(changes / squares);
}

}  // namespace bitsmith
