#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace bitsmith {

void check_logits(std::span<const float> logits) {
  float largest = -std::numeric_limits<float>::infinity();
  bool numbers = true;
  for (const float logit : logits) {
    numbers = numbers && !std::isnan(logit);
    largest = std::max(largest, logit);
  }
  if (numbers && std::isfinite(largest)) return;
  fail(ErrorCode::kCorrupt,
       "the model's logits are not finite: a weight is damaged, or so large that sums overflow; "
       "`bitsmith inspect MODEL --verify` compares a .bitsmith file with its checksums");
}

TokenId Sampler::sample(std::span<const float> logits) {
  BITSMITH_ASSERT(!logits.empty());
  check_logits(logits);
  const auto best = std::ranges::max_element(logits);
  if (options_.temperature <= 0) return static_cast<TokenId>(best - logits.begin());

  const double inverse = 1.0 / options_.temperature;
  const double peak = *best;
  const auto weight = [&](float logit) {
    return std::exp((static_cast<double>(logit) - peak) * inverse);
  };
  const bool filtered = options_.top_p < 1 || options_.top_k > 0;
  if (!filtered) {
    double total = 0;
    for (const float logit : logits) total += weight(logit);
    double rest = random_.uniform() * total;
    for (size_t i = 0; i < logits.size(); ++i) {
      rest -= weight(logits[i]);
      if (rest < 0) return static_cast<TokenId>(i);
    }
    return static_cast<TokenId>(best - logits.begin());  // rounding: never seen in practice
  }

  sorted_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    sorted_.emplace_back(logits[i], static_cast<TokenId>(i));
  }
  std::ranges::sort(sorted_, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < sorted_.size()) {
    sorted_.resize(static_cast<size_t>(options_.top_k));
  }
  double total = 0;
  for (const auto& [logit, id] : sorted_) total += weight(logit);
  // The smallest set whose probability reaches top_p.
  double kept = 0;
  size_t count = 0;
  while (count < sorted_.size() && (count == 0 || kept < options_.top_p * total)) {
    kept += weight(sorted_[count++].first);
  }
  double rest = random_.uniform() * kept;
  for (size_t i = 0; i < count; ++i) {
    rest -= weight(sorted_[i].first);
    if (rest < 0) return sorted_[i].second;
  }
  return sorted_.front().second;
}

}  // namespace bitsmith
