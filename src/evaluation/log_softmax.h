// Comparing predictions of the next token, given as logits.
#pragma once

#include <span>

#include "text/tokenizer.h"

namespace bitsmith {

// -log softmax(logits)[token] in nats. Not finite if a logit is not.
double negative_log_likelihood(std::span<const float> logits, TokenId token) noexcept;

// The first of the largest logits.
TokenId arg_max(std::span<const float> logits) noexcept;

// The Kullback-Leibler divergence sum p log(p / q) in nats, of p = softmax(original) from
// q = softmax(model). Not below zero; zero for equal logits.
//   original, model [V];  scratch [V], overwritten
double kl_divergence(std::span<const float> original, std::span<const float> model,
                     std::span<float> scratch) noexcept;

}  // namespace bitsmith
