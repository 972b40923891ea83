// The second moment of a linear layer's input, which weighs the error of its weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"

namespace bitsmith {

// How the columns of an activation are spread over tokens; nothing was seen: zeros.
struct ChannelSpread {
  std::vector<float> least;
  std::vector<float> most;
  std::vector<double> mean;
};

// H = sum over tokens of x xᵀ, accumulated in float64. The output error of a row of weights is then
// (w - q) H (w - q)ᵀ / tokens, exactly the mean squared error of that output on the calibration
// text.
class SecondMoment {
 public:
  // The diagonal alone takes memory and time of order `size`, not its square.
  enum class Part : uint8_t { kAll, kDiagonal };
  explicit SecondMoment(int64_t size, Part part = Part::kAll);

  // x [tokens, size] row-major float32. The sum over at most 256 tokens is taken in float32 by
  // BLAS, the sum of those in float64. The result does not depend on the number of threads.
  void add(std::span<const float> x, ThreadPool& pool);

  int64_t size() const { return size_; }
  int64_t tokens() const { return tokens_; }
  // The mean over tokens, [size, size] row-major, symmetric; zeros if there were no tokens. Not of
  // the diagonal alone.
  std::vector<double> mean() const;
  double mean_diagonal(int64_t i) const;
  ChannelSpread spread() const;

 private:
  int64_t size_;
  int64_t tokens_ = 0;
  Part part_;
  // [size, size] row-major, of which only the lower triangle is kept up; of the diagonal [size].
  std::vector<double> sum_;
  ChannelSpread spread_;     // of means the sums
};

}  // namespace bitsmith
