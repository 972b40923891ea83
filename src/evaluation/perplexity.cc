#include "evaluation/perplexity.h"

#include <cmath>

namespace bitsmith {

Perplexity make_perplexity(const WindowMean& losses, uint64_t bytes) {
  Perplexity result;
  result.tokens = losses.tokens();
  result.nats = losses.estimate();
  result.perplexity.value = std::exp(result.nats.value);
  result.perplexity.error = result.perplexity.value * result.nats.error;
  if (bytes > 0) {
    const double bits = result.nats.value * static_cast<double>(result.tokens) / std::log(2.0);
    result.bits_per_byte = bits / static_cast<double>(bytes);
  }
  return result;
}

}  // namespace bitsmith
