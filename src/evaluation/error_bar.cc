#include "evaluation/error_bar.h"

#include <cmath>

namespace bitsmith {

void WindowMean::add(double sum, int64_t tokens) {
  windows_.push_back({sum, static_cast<double>(tokens)});
  sum_ += sum;
  tokens_ += tokens;
}

Estimate WindowMean::estimate() const {
  Estimate result;
  if (tokens_ == 0) return result;
  const auto total = static_cast<double>(tokens_);
  result.value = sum_ / total;
  if (windows_.size() < 2) return result;
  double squares = 0;
  for (const Window& window : windows_) {
    const double residual = window.sum - result.value * window.tokens;
    squares += residual * residual;
  }
  const auto count = static_cast<double>(windows_.size());
  result.error = std::sqrt(count / (count - 1) * squares) / total;
  return result;
}

}  // namespace bitsmith
