// Operators that normalise or reduce over some axes.
#pragma once

#include "graph/graph.h"

namespace bitsmith::ops {

// x / sqrt(mean(x²) + epsilon) * weight, over runs of D consecutive channels, D = length of weight
// (D = C: the usual norm; D = head dimension: Qwen3's per-head norm).  x [..., C], weight [D]
ValueId rms_norm(Graph& graph, std::string name, ValueId x, ValueId weight, double epsilon);

// (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias, over the last axis; the variance is
// the mean of (x - mean(x))².  x [..., C], weight and bias [C] or kNoValue (1 and 0)
ValueId layer_norm(Graph& graph, std::string name, ValueId x, ValueId weight, ValueId bias,
                   double epsilon);

// (x - mean) / sqrt(variance + epsilon) * scale + bias for each channel, with stored statistics.
//   x [B, C, ...], all four parameters [C]
ValueId batch_norm(Graph& graph, std::string name, ValueId x, ValueId scale, ValueId bias,
                   ValueId mean, ValueId variance, double epsilon);

// eˣ / sum of eˣ along `axis` (counted from 0)
ValueId softmax(Graph& graph, std::string name, ValueId x, int64_t axis);

// Reduces over `axes` (ascending, counted from 0, never one of unknown extent): op is
// "reduce_mean", "reduce_sum" or "reduce_max". keep = 1: reduced axes stay, with extent 1; keep =
// 0: they go. The mean over all spatial axes is ONNX's GlobalAveragePool.
ValueId reduce(Graph& graph, std::string_view op, std::string name, ValueId x,
               std::vector<int64_t> axes, bool keep);

}  // namespace bitsmith::ops
