// How far a compressed model's predictions are from the original's.
#pragma once

#include <vector>

#include "evaluation/error_bar.h"

namespace bitsmith {

// Over the scored tokens, from the whole distribution of the next token.
struct Divergence {
  Estimate kl_nats;  // mean of KL(original || model)
  double kl_median_nats = 0;
  double kl_p99_nats = 0;
  double kl_max_nats = 0;
  Estimate top1_agreement;  // share of tokens where both would choose the same token
  Estimate nats_lost;       // mean of the model's loss minus the original's, token by token
};

class DivergenceCollector {
 public:
  // One window: for each scored token the divergence, whether the choices agree, and the loss of
  // the model minus that of the original.
  void add(const std::vector<float>& kl_nats, int64_t agreed, double nats_lost);
  Divergence finish() const;  // O(n log n) in tokens

 private:
  std::vector<float> values_;
  WindowMean kl_;
  WindowMean agreement_;
  WindowMean lost_;
};

}  // namespace bitsmith
