// The decision of how each tensor is coded, and what it is expected to cost.
#pragma once

#include <optional>
#include <vector>

#include "pipeline/survey.h"
#include "pipeline/tasks.h"

namespace bitsmith {

// What the user asked for. With neither, the recipe must leave only one way to code.
struct Budget {
  std::optional<double> bits;  // bits per weight over all parameters, side information included
  std::optional<uint64_t> file_bytes;  // of the whole file
};

struct Plan {
  std::vector<size_t> picks;  // [tasks]: index into MatrixTask::schemes
  uint64_t tensor_bytes = 0;  // all parameters, exact
  uint64_t original_bytes = 0;
  int64_t weights = 0;
  std::optional<double> predicted_kl_nats;  // nothing was surveyed: unknown
  std::vector<double> losses;               // [tasks], predicted, empty if unknown
  Anchors anchors;
  std::vector<double> block_seconds;  // [blocks]: estimate of coding each
  double seconds = 0;                 // estimate of all that follows the survey

  double bpw() const {
    return 8 * static_cast<double>(tensor_bytes) / static_cast<double>(weights);
  }
  double original_bpw() const {
    return 8 * static_cast<double>(original_bytes) / static_cast<double>(weights);
  }
};

// The bytes that parameters may take. `overhead_bytes`: what the file holds beside them.
std::optional<uint64_t> parameter_budget(const Model& model, const Budget& budget,
                                         uint64_t overhead_bytes);

// Picks schemes. `survey` is nullptr if there is no choice to make. Throws kImpossibleBudget with
// the smallest budget that can be met.
Plan make_plan(const Model& model, const std::vector<MatrixTask>& tasks, const Recipe& recipe,
               std::optional<uint64_t> budget_bytes, const Survey* survey,
               const OutputFormat& format = checkpoint_format());

}  // namespace bitsmith
