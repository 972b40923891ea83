#include "evaluation/divergence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace bitsmith {

void DivergenceCollector::add(const std::vector<float>& kl_nats, int64_t agreed, double nats_lost) {
  const auto tokens = static_cast<int64_t>(kl_nats.size());
  values_.insert(values_.end(), kl_nats.begin(), kl_nats.end());
  kl_.add(std::accumulate(kl_nats.begin(), kl_nats.end(), 0.0), tokens);
  agreement_.add(static_cast<double>(agreed), tokens);
  lost_.add(nats_lost, tokens);
}

Divergence DivergenceCollector::finish() const {
  Divergence result;
  if (values_.empty()) return result;
  result.kl_nats = kl_.estimate();
  result.top1_agreement = agreement_.estimate();
  result.nats_lost = lost_.estimate();
  std::vector<float> sorted = values_;
  std::ranges::sort(sorted);
  // The smallest value that at least the fraction q of all values does not exceed.
  const auto quantile = [&](double q) {
    const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(sorted.size())));
    return static_cast<double>(sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1]);
  };
  result.kl_median_nats = quantile(0.5);
  result.kl_p99_nats = quantile(0.99);
  result.kl_max_nats = static_cast<double>(sorted.back());
  return result;
}

}  // namespace bitsmith
