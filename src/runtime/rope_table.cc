#include "runtime/rope_table.h"

#include <cmath>

namespace bitsmith {

void RopeTable::reserve(int64_t positions) {
  const int64_t begin = static_cast<int64_t>(rows_.size()) / (2 * pairs());
  if (positions <= begin) return;
  constexpr int64_t kStep = 256;  // so that decoding rarely comes here
  const int64_t end = (positions + kStep - 1) / kStep * kStep;
  rows_.resize(static_cast<size_t>(2 * pairs() * end));
  for (int64_t position = begin; position < end; ++position) {
    float* row = rows_.data() + 2 * pairs() * position;
    for (int64_t i = 0; i < pairs(); ++i) {
      const double angle = static_cast<double>(position) * frequencies_[static_cast<size_t>(i)];
      row[i] = static_cast<float>(std::cos(angle) * magnitude_);
      row[pairs() + i] = static_cast<float>(std::sin(angle) * magnitude_);
    }
  }
}

}  // namespace bitsmith
