#include "codecs/gaussian_mixture.h"

#include <algorithm>
#include <cmath>

namespace bitsmith {

Histogram1d make_histogram(std::span<const float> numbers) {
  constexpr size_t kBins = 4096;
  Histogram1d result{std::vector<double>(kBins), std::vector<double>(kBins)};
  if (numbers.empty()) return result;
  const auto [least, most] = std::ranges::minmax(numbers);
  const double low = least;
  const double width = (static_cast<double>(most) - low) / kBins;
  for (const float x : numbers) {
    const double place = width > 0 ? (static_cast<double>(x) - low) / width : 0;
    const auto bin = std::min(static_cast<size_t>(place), kBins - 1);
    result.centres[bin] += static_cast<double>(x);
    result.counts[bin] += 1;
  }
  for (size_t i = 0; i < kBins; ++i) {
    if (result.counts[i] > 0) result.centres[i] /= result.counts[i];
  }
  return result;
}

double GaussianMixture::separation() const {
  if (variance <= 0) return 0;
  const double means = mean[1] - mean[0];
  const double deviations = deviation[1] - deviation[0];
  return (means * means + deviations * deviations) / variance;
}

GaussianMixture fit_mixture(const Histogram1d& numbers) {
  const size_t bins = numbers.centres.size();
  double count = 0;
  double sum = 0;
  double squares = 0;
  double lowest = 0;
  double highest = 0;
  for (size_t i = 0; i < bins; ++i) {
    const double x = numbers.centres[i];
    if (numbers.counts[i] == 0) continue;
    lowest = count == 0 ? x : std::min(lowest, x);
    highest = count == 0 ? x : std::max(highest, x);
    count += numbers.counts[i];
    sum += numbers.counts[i] * x;
    squares += numbers.counts[i] * x * x;
  }
  GaussianMixture mixture;
  if (count == 0) return mixture;
  const double mean = sum / count;
  mixture.variance = squares / count - mean * mean;
  if (!(mixture.variance > 0) || !std::isfinite(mixture.variance)) {
    mixture.variance = 0;
    mixture.mean = {mean, mean};
    return mixture;
  }
  // A component that shrinks to a point would have infinite likelihood.
  const double floor = 1e-6 * mixture.variance;
  const double border = lowest < 0 && highest > 0 ? 0 : mean;
  std::vector<double> upper(bins);  // probability of the upper component
  for (size_t i = 0; i < bins; ++i) upper[i] = numbers.centres[i] > border ? 1 : 0;

  constexpr int kIterations = 60;
  for (int iteration = 0;; ++iteration) {
    for (size_t c = 0; c < 2; ++c) {
      double weight = 0;
      double first = 0;
      for (size_t i = 0; i < bins; ++i) {
        const double w = numbers.counts[i] * (c == 1 ? upper[i] : 1 - upper[i]);
        weight += w;
        first += w * numbers.centres[i];
      }
      mixture.share[c] = weight / count;
      if (weight <= 0) continue;
      mixture.mean[c] = first / weight;
      double second = 0;
      for (size_t i = 0; i < bins; ++i) {
        const double w = numbers.counts[i] * (c == 1 ? upper[i] : 1 - upper[i]);
        const double d = numbers.centres[i] - mixture.mean[c];
        second += w * d * d;
      }
      mixture.deviation[c] = std::sqrt(std::max(second / weight, floor));
    }
    if (iteration == kIterations || mixture.share[0] <= 0 || mixture.share[1] <= 0) break;
    for (size_t i = 0; i < bins; ++i) {
      std::array<double, 2> log_density{};
      for (size_t c = 0; c < 2; ++c) {
        const double d = (numbers.centres[i] - mixture.mean[c]) / mixture.deviation[c];
        log_density[c] = std::log(mixture.share[c]) - std::log(mixture.deviation[c]) - d * d / 2;
      }
      upper[i] = 1 / (1 + std::exp(log_density[0] - log_density[1]));
    }
  }
  if (mixture.mean[0] > mixture.mean[1]) {
    std::swap(mixture.mean[0], mixture.mean[1]);
    std::swap(mixture.share[0], mixture.share[1]);
    std::swap(mixture.deviation[0], mixture.deviation[1]);
  }
  return mixture;
}

}  // namespace bitsmith
