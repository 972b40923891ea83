#include "runtime/rope_table.h"

#include <cmath>

namespace bitsmith {

void RopeTable::reserve(int64_t positions) {
  const int64_t begin = static_cast<int64_t>(cosines_.size()) / pairs();
  if (positions <= begin) return;
  constexpr int64_t kStep = 256;  // so that decoding rarely comes here
  const int64_t end = (positions + kStep - 1) / kStep * kStep;
  cosines_.reserve(static_cast<size_t>(pairs() * end));
  sines_.reserve(static_cast<size_t>(pairs() * end));
  for (int64_t position = begin; position < end; ++position) {
    for (const double frequency : frequencies_) {
      const double angle = static_cast<double>(position) * frequency;
      cosines_.push_back(static_cast<float>(std::cos(angle) * magnitude_));
      sines_.push_back(static_cast<float>(std::sin(angle) * magnitude_));
    }
  }
}

}  // namespace bitsmith
