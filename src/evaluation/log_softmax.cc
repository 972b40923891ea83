#include "evaluation/log_softmax.h"

#include <algorithm>
#include <cmath>

namespace bitsmith {
namespace {

float largest(std::span<const float> x) {
  float max = x[0];
  for (const float v : x) max = v > max ? v : max;
  return max;
}

}  // namespace

double log_sum_exp(std::span<const float> logits) noexcept {
  const float max = largest(logits);
  double sum = 0;
  for (const float x : logits) sum += static_cast<double>(std::exp(x - max));
  return static_cast<double>(max) + std::log(sum);
}

TokenId arg_max(std::span<const float> logits) noexcept {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// With a, b the logits: sum p (a - b) - (lse a - lse b); p is exp(a - max a) / sum of the same.
double kl_divergence(std::span<const float> original, std::span<const float> model) noexcept {
  const float max = largest(original);
  double sum = 0;
  double weighted = 0;
  for (size_t i = 0; i < original.size(); ++i) {
    const auto p = static_cast<double>(std::exp(original[i] - max));
    sum += p;
    weighted += p * (static_cast<double>(original[i]) - static_cast<double>(model[i]));
  }
  const double lse = static_cast<double>(max) + std::log(sum);
  return std::max(0.0, weighted / sum - (lse - log_sum_exp(model)));
}

}  // namespace bitsmith
