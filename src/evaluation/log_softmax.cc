#include "evaluation/log_softmax.h"

#include <algorithm>

#include "runtime/kernels/elementwise.h"

namespace bitsmith {

double negative_log_likelihood(std::span<const float> logits, TokenId token) noexcept {
  return log_sum_exp(logits.data(), static_cast<int64_t>(logits.size())) -
         static_cast<double>(logits[static_cast<size_t>(token)]);
}

TokenId arg_max(std::span<const float> logits) noexcept {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// With a, b the logits: sum p (a - b) - (lse a - lse b), lse being log sum exp.
double kl_divergence(std::span<const float> original, std::span<const float> model,
                     std::span<float> scratch) noexcept {
  const auto count = static_cast<int64_t>(original.size());
  softmax(original.data(), count, scratch.data());
  double weighted = 0;
  for (size_t i = 0; i < original.size(); ++i) {
    weighted += static_cast<double>(scratch[i]) *
                (static_cast<double>(original[i]) - static_cast<double>(model[i]));
  }
  const double shift = log_sum_exp(original.data(), count) - log_sum_exp(model.data(), count);
  return std::max(0.0, weighted - shift);
}

}  // namespace bitsmith
