// The operators of the graph: how to make each node, and what it means.
//
// Shape letters: B sequences, T positions, C channels, O output channels, H heads, D head
// dimension. Executors compute each operator exactly as written here, in float32 unless they say
// otherwise.
#pragma once

#include "graph/graph.h"

namespace bitsmith::ops {

// table[ids]:  ids [B, T] int32, table [V, C] -> [B, T, C]
ValueId embedding(Graph& graph, std::string name, ValueId ids, ValueId table);

// x · weightᵀ + bias:  x [..., C], weight [O, C], bias [O] or kNoValue -> [..., O]
ValueId linear(Graph& graph, std::string name, ValueId x, ValueId weight, ValueId bias = kNoValue);

// x / sqrt(mean(x²) + epsilon) * weight, over runs of D consecutive channels, D = length of weight
// (D = C: the usual norm; D = head dimension: Qwen3's per-head norm).  x [..., C], weight [D]
ValueId rms_norm(Graph& graph, std::string name, ValueId x, ValueId weight, double epsilon);

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
};
// Causal softmax(q kᵀ * scale) v.  q [B, T, H*D], k and v [B, T, KV*D] -> [B, T, H*D]
ValueId attention(Graph& graph, std::string name, ValueId q, ValueId k, ValueId v,
                  const AttentionOptions& options);

// x * sigmoid(x)
ValueId silu(Graph& graph, std::string name, ValueId x);

// Element by element; the shapes are equal.
ValueId add(Graph& graph, std::string name, ValueId a, ValueId b);
ValueId multiply(Graph& graph, std::string name, ValueId a, ValueId b);

}  // namespace bitsmith::ops
