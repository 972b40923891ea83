// Measures what each way of coding each matrix would cost in KL divergence.
#pragma once

#include <memory>
#include <vector>

#include "pipeline/activations.h"
#include "pipeline/block_runner.h"
#include "pipeline/calibration_set.h"
#include "pipeline/context.h"
#include "pipeline/tasks.h"

namespace bitsmith {

// The predicted loss of coding a matrix W as Q, in nats of KL per token, is the second-order term
//
//   1/2 * sum over uses, sum over output channels r of  G_r * e_r * anchor(block)
//
//   e_r  mean over calibration tokens of the squared change of output r: (w_r - q_r) H (w_r -
//   q_r)ᵀ,
//        with q from the recipe's own solver, on a sample of the rows
//   G_r  mean over tokens of the squared derivative of the log-likelihood by output r, with labels
//        drawn from the model: the diagonal of the Fisher information, which is the Hessian of the
//        KL
//   anchor(block)  measured KL / predicted KL when the whole block is rounded to nearest, so that
//   the
//        prediction starts from a measured quantity; between anchored blocks it is interpolated
//
// Errors of different matrices are taken as independent, so losses add.
struct BlockAnchor {
  size_t block = 0;
  double predicted_kl_nats = 0;
  double measured_kl_nats = 0;
  double factor() const;
};

struct Survey {
  std::vector<std::vector<double>> losses;  // [tasks][schemes], kl_nats; 0 for the tensor as it is
  std::vector<BlockAnchor> anchors;
  double seconds = 0;
};

// Errors of one use of a matrix, for every scheme of its task but the last, on sampled channels.
struct UseErrors {
  size_t task = 0;
  size_t node = 0;
  std::vector<int64_t> channels;            // output channels that were sampled
  std::vector<std::vector<double>> errors;  // [schemes - 1][channels]
};

// What the steps of a survey share.
struct SurveyState {
  const std::vector<Block>& blocks;
  const std::vector<MatrixTask>& tasks;
  const Recipe& recipe;
  const CalibrationSet& calibration;
  std::vector<UseErrors> errors;
  // Inputs of every block but the first for the probe sequences.
  std::vector<std::unique_ptr<ActivationStore>> probe_inputs;

  // What flows into `block`, by number of probe (0 ..< calibration.probes).
  SequenceInput probe_input(size_t block) const;
};

// Step 1, forward through all blocks: second moments, candidates' errors, the probes' activations.
// Second moments of matrices that are coded before their linear use (tied heads) go to the
// workspace.
void measure_errors(const Context& context, SurveyState& state);

// Step 2, backward through all blocks: G of every output channel of every node that uses a matrix,
// [graph.nodes.size()][channels], empty for other nodes.
std::vector<std::vector<double>> measure_sensitivity(const Context& context,
                                                     const SurveyState& state);

// Step 3: `count` evenly spread blocks are rounded to nearest, one at a time, with the scheme
// closest to `bits` bits per weight, and the KL at the end is measured.
std::vector<BlockAnchor> measure_anchors(const Context& context, const SurveyState& state,
                                         const std::vector<std::vector<double>>& sensitivity,
                                         double bits);

// All steps. `bits`: where the budget lies. Finished steps are kept in the workspace.
Survey run_survey(const Context& context, const std::vector<Block>& blocks,
                  const std::vector<MatrixTask>& tasks, const Recipe& recipe,
                  const CalibrationSet& calibration, double bits);

// The name of the workspace record that holds the second moment of a matrix's linear use.
std::string moment_record(const MatrixTask& task);

}  // namespace bitsmith
