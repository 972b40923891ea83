// Two Gaussians that explain numbers with two clusters, and how far apart they are.
#pragma once

#include <array>
#include <span>
#include <vector>

namespace bitsmith {

// How many numbers lie around each centre.
struct Histogram1d {
  std::vector<double> centres;  // the mean of the numbers of the bin
  std::vector<double> counts;
};

// 4096 equal bins from the smallest to the largest number. O(n).
Histogram1d make_histogram(std::span<const float> numbers);

struct GaussianMixture {
  std::array<double, 2> share = {0.5, 0.5};
  std::array<double, 2> mean = {0, 0};  // ascending
  std::array<double, 2> deviation = {0, 0};
  double variance = 0;  // of all numbers

  // ((mean₁ - mean₀)² + (deviation₁ - deviation₀)²) / variance: the squared 2-Wasserstein distance
  // of the components in units of the spread of all (Zhao et al. 2019, arXiv:1903.03046, section
  // 3.5). At most 4 for equal shares: two points.
  double separation() const;
};

// The mixture of greatest likelihood that is found from the numbers below and above 0 (if all have
// one sign: below and above their mean), by expectation maximisation.
GaussianMixture fit_mixture(const Histogram1d& numbers);

}  // namespace bitsmith
