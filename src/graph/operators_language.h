// Operators of language models.
#pragma once

#include "graph/graph.h"

namespace bitsmith::ops {

// table[ids]:  ids [B, T] int32, table [V, C] -> [B, T, C]
ValueId embedding(Graph& graph, std::string name, ValueId ids, ValueId table);

// Rotary position embedding in the rotate-half (NeoX) order, for each head of D channels:
//   channel i < D/2 pairs with i + D/2; angle = position * frequencies[i]
//   y[i] = x[i] cos - x[i + D/2] sin,  y[i + D/2] = x[i + D/2] cos + x[i] sin
// x [B, T, H*D], D = 2 * frequencies.size(); `magnitude` multiplies cos and sin (1 but for YaRN).
ValueId rope(Graph& graph, std::string name, ValueId x, std::vector<double> frequencies,
             double magnitude = 1.0);

struct AttentionOptions {
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads; head h reads kv head h / (heads / kv_heads)
  int64_t head_dim = 0;
  double scale = 0;    // multiplies q·k
  int64_t window = 0;  // > 0: a position sees itself and the window - 1 before it; 0: all before it
  double soft_cap = 0;  // > 0: a scaled score s becomes soft_cap * tanh(s / soft_cap)
};
// Causal softmax(soft_cap(q kᵀ * scale)) v.  q [B, T, H*D], k and v [B, T, KV*D] -> [B, T, H*D]
ValueId attention(Graph& graph, std::string name, ValueId q, ValueId k, ValueId v,
                  const AttentionOptions& options);
// The options of an attention node.
AttentionOptions attention_options(const Node& node);

}  // namespace bitsmith::ops
