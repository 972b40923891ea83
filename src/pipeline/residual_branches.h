// The branches that a recipe's residual puts beside the layers of a model.
#pragma once

#include <vector>

#include "pipeline/tasks.h"

namespace bitsmith {

struct ResidualBranch {
  ValueId weight = kNoValue;  // of the layer that it stands beside
  std::vector<ResidualParameter> parameters;
};

// `model` with a branch beside each linear layer whose matrix nobody else reads, if the recipe has
// a residual: nodes, and parameters of zeros. Sets `branches`, in order of layers. Throws
// kUnsupported if there is no such layer.
Model with_residual_branches(Model model, const Recipe& recipe,
                             std::vector<ResidualBranch>& branches);

// Gives the tasks of branches their one scheme and joins them to those of their layers.
void join_residual_tasks(const std::vector<ResidualBranch>& branches, const OutputFormat& format,
                         std::vector<MatrixTask>& tasks);

}  // namespace bitsmith
