// Activations of language models that are rounded per token in front of the layers that read them.
#pragma once

#include <functional>
#include <string>

#include "graph/graph.h"

namespace bitsmith {

// `graph` with everything that a linear layer multiplies by a parameter rounded to `bits` bits per
// token, by one node for all layers that read a value; only by parameters that `takes` accepts.
// Throws kUnsupported if such a value is rounded already.
Graph with_rounded_inputs(Graph graph, int64_t bits,
                          const std::function<bool(const std::string& parameter)>& takes);

}  // namespace bitsmith
