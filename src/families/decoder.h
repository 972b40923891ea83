// The decoder-only transformer that Llama and its relatives share.
#pragma once

#include <functional>
#include <optional>

#include "families/config.h"
#include "graph/graph.h"

namespace bitsmith {

// Bounds on scores of attention and on logits, 0 for none.
struct SoftCaps {
  double scores = 0;
  double logits = 0;
};

// Where a family differs from Llama.
struct DecoderTraits {
  bool qkv_bias = false;    // bias on q, k and v whatever attention_bias says
  bool qk_norm = false;     // an RMS norm on each head of q and k, before RoPE
  bool post_norms = false;  // RMS norms also behind attention and MLP, in front of their sums
  bool tied = false;        // the head is the table where tie_word_embeddings is not given
  bool gelu = false;        // gelu_tanh in the MLP, not silu
  // The table's rows times √hidden_size, which is rounded to the type of the weights ("dtype").
  bool scaled_embedding = false;
  // Scores are divided by the root of `query_pre_attn_scalar` (256 if not given), not of head_dim.
  bool query_scalar = false;
  bool local_rope = false;  // layers with a window rotate as rope_config(config, true) says
  // Read from the configuration; these where it has no such fields. Nothing: not known.
  std::optional<SoftCaps> soft_caps;
  // The attention window of a layer, 0 for none.
  std::function<int64_t(const Config&, int64_t layer)> window =
      [](const Config&, int64_t) -> int64_t { return 0; };
};

// Pre-norm blocks  h += o(attention(q, k, v));  h += down(silu(gate) * up)  of parameters that are
// named as in Hugging Face's files.
Graph build_decoder(const nlohmann::json& config, const DecoderTraits& traits);

}  // namespace bitsmith
