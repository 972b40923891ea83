// How well a model predicts a text.
#pragma once

#include "evaluation/error_bar.h"

namespace bitsmith {

struct Perplexity {
  int64_t tokens = 0;        // scored: all but the first of each window
  Estimate nats;             // mean of -log p(token | tokens before it in the window)
  Estimate perplexity;       // exp(nats); its error by the delta method
  double bits_per_byte = 0;  // all the nats, in bits, over the bytes of text in the windows
};

// The finished measurement.
//   losses: the negative log-likelihoods, window by window;  bytes: of text in all windows
Perplexity make_perplexity(const WindowMean& losses, uint64_t bytes);

}  // namespace bitsmith
