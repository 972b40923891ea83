// Batch norms as part of the convolution or matrix before them.
#pragma once

#include "formats/model.h"

namespace bitsmith {

// Replaces conv or linear, read by one batch_norm only, and that batch_norm by one node with
//   weight' = weight * scale / sqrt(variance + epsilon), for each output channel,
//   bias'   = (bias - mean) * scale / sqrt(variance + epsilon) + shift,
// computed in float64 and rounded to float32. The node keeps the name of the conv; the output keeps
// its value. Parameters that the graph no longer reads go. Weights must not be shared with other
// nodes; those that are stay as they are. Returns how many were folded.
int fold_batch_norms(Model& model);

}  // namespace bitsmith
