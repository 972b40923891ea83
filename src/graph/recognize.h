// Operators that exporters write as several simple ones.
#pragma once

#include <functional>
#include <optional>

#include "graph/graph.h"

namespace bitsmith {

// The value of a parameter of one element, nothing for others.
using ScalarSource = std::function<std::optional<double>(ValueId)>;

// Replaces, where nothing else reads the values in between:
//   x * sigmoid(x)                                       -> silu
//   x * hard_sigmoid(x, 1/6, 1/2), x * clip(x + 3, 0, 6) / 6  -> hard_swish
//   x * (1 + erf(x / √2)) / 2, in any grouping           -> gelu
//   (x - mean(x)) / sqrt(mean((x - mean(x))²) + ε) over the last axis, then * weight, + bias
//                                                        -> layer_norm
//   linear without a bias, + bias [O]                    -> linear with it
//   clip of quantize to fewer codes                      -> quantize to those
// The last node of each pattern becomes the new one and keeps its name; those before it are left
// for remove_dead_nodes. Roles of parameters that become a norm's or a bias change to theirs.
void recognize_patterns(Graph& graph, const ScalarSource& scalar);

}  // namespace bitsmith
