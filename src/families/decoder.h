// The decoder-only transformer that Llama and its relatives share.
#pragma once

#include <functional>

#include "families/config.h"
#include "graph/graph.h"

namespace bitsmith {

// Where a family differs from Llama.
struct DecoderTraits {
  bool qkv_bias = false;  // bias on q, k and v whatever attention_bias says
  bool qk_norm = false;   // an RMS norm on each head of q and k, before RoPE
  // The attention window of a layer, 0 for none.
  std::function<int64_t(const Config&, int64_t layer)> window =
      [](const Config&, int64_t) -> int64_t { return 0; };
};

// Pre-norm blocks  h += o(attention(q, k, v));  h += down(silu(gate) * up).
Graph build_decoder(const nlohmann::json& config, const DecoderTraits& traits);

}  // namespace bitsmith
