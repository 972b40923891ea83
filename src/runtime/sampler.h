// Chooses the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/random.h"
#include "text/tokenizer.h"

namespace bitsmith {

struct SamplerOptions {
  double temperature = 0.8;  // divides the logits; 0: always the most likely token
  double top_p = 1.0;        // keep the most likely tokens that together reach this probability
  int64_t top_k = 0;         // keep at most this many; 0: all
  uint64_t seed = 0;
};

// Throws kCorrupt if a logit is NaN or the largest is infinite: what a damaged weight makes of
// them.
void check_logits(std::span<const float> logits);

// The same logits, options and number of earlier calls give the same token on every machine, up to
// the rounding of exp().
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}

  // logits [V], as check_logits() wants them. Ties go to the lower id. O(V), or O(V log V) with
  // top_p or top_k.
  TokenId sample(std::span<const float> logits);

 private:
  SamplerOptions options_;
  Random random_;
  std::vector<std::pair<float, TokenId>> sorted_;
};

}  // namespace bitsmith
