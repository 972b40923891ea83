// Probabilities of the next token from logits.
#pragma once

#include <cstdint>
#include <span>

#include "text/tokenizer.h"

namespace bitsmith {

// log sum exp(x), with the largest x taken out; exponentials in float32, their sum in float64.
// Not finite if a logit is not.
double log_sum_exp(std::span<const float> logits) noexcept;

// The first of the largest logits.
TokenId arg_max(std::span<const float> logits) noexcept;

// The Kullback-Leibler divergence sum p log(p / q) in nats, of p = softmax(original) from
// q = softmax(model); both [V]. Not below zero; zero for equal logits.
double kl_divergence(std::span<const float> original, std::span<const float> model) noexcept;

}  // namespace bitsmith
