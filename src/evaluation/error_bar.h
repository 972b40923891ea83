// Means over tokens with error bars that know that neighbouring tokens are alike.
#pragma once

#include <cstdint>
#include <vector>

namespace bitsmith {

struct Estimate {
  double value = 0;
  double error = 0;  // one standard error; 0 if there was only one window
};

// The mean over all tokens. Tokens of a window are correlated, so the window is the unit of the
// standard error: with window sums s_i over n_i tokens and mean m = sum s / sum n,
//     error² = w / (w - 1) * sum (s_i - m n_i)² / (sum n)²        for w windows
// (the ratio estimator; Cochran 1977, section 6.3, without the finite-population term).
class WindowMean {
 public:
  void add(double sum, int64_t tokens);
  Estimate estimate() const;
  int64_t tokens() const { return tokens_; }

 private:
  struct Window {
    double sum;
    double tokens;
  };
  std::vector<Window> windows_;
  double sum_ = 0;
  int64_t tokens_ = 0;
};

}  // namespace bitsmith
