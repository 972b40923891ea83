// Measures what each way of coding each matrix would cost in KL divergence.
#pragma once

#include <memory>
#include <vector>

#include "pipeline/activations.h"
#include "pipeline/block_runner.h"
#include "pipeline/calibration_set.h"
#include "pipeline/context.h"
#include "pipeline/tasks.h"
#include "pipeline/work_times.h"

namespace bitsmith {

// The predicted loss of coding a matrix W as Q, in nats of KL per token or image, is the
// second-order term
//
//   1/2 * sum over uses, sum over output channels r of  G_r * e_r * anchor(block) * joint
//
// e_r    mean over positions (tokens; pixels of a convolution's output) of the squared change of
//        output r, (w - q) H (w - q)ᵀ for its row, with q from the recipe's own solver; on a sample
//        of the rows
// G_r    squared derivative of the log-likelihood by output r, summed over positions, for each
//        label, with labels drawn from the model: the diagonal of the Fisher information, the
//        Hessian of the KL. A text has a label for each token, an image has one
// anchor measured KL / predicted KL when the whole block is coded at one width, so that the
//        prediction starts from a measured quantity; interpolated between anchored blocks. (With
//        nearest codes it is close to 1; GPTQ leaves its errors to rare inputs, where G is larger.)
// joint  the same ratio when all blocks are coded at once, since errors do not quite add
//
// Losses of matrices are added; the allocator minimises that sum.
struct Anchor {
  size_t block = 0;
  double predicted_kl_nats = 0;
  double measured_kl_nats = 0;
  double factor() const;  // measured / predicted, kept between 0.1 and 10
};

struct Anchors {
  std::vector<Anchor> blocks;  // in order of block
  Anchor joint;  // all blocks at once; predicted from the blocks' anchored predictions

  // The factor at any block, between anchors by interpolation of its logarithm.
  double block_factor(size_t block) const;
};

struct Survey {
  std::vector<std::vector<double>> losses;  // [tasks][schemes], kl_nats; 0 for the tensor as it is
  Anchors anchors;
  WorkTimes times;
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
  WorkTimes times;
  // Inputs of every block but the first for the probe sequences.
  std::vector<std::unique_ptr<ActivationStore>> probe_inputs;

  // What flows into `block`, by number of probe (0 ..< calibration.probes).
  SampleInput probe_input(size_t block) const;
};

// Step 1, forward through all blocks: second moments, candidates' errors, the probes' activations,
// and how long all that took.
// Second moments of matrices that are coded before their linear use (tied heads) and the codes that
// step 3 uses go to the workspace.
//   bits: where the budget lies, in bits per weight
void measure_errors(const Context& context, SurveyState& state, double bits);

// Step 2, backward through all blocks: G of every output channel of every node that uses a matrix,
// [graph.nodes.size()][channels], empty for other nodes.
std::vector<std::vector<double>> measure_sensitivity(const Context& context,
                                                     const SurveyState& state);

// Step 3: evenly spread blocks are replaced by what the recipe's solver makes of them at one width,
// one at a time and then all together, and the KL at the end is measured.
Anchors measure_anchors(const Context& context, const SurveyState& state,
                        const std::vector<std::vector<double>>& sensitivity, double bits);

// The scheme of a task that step 3 uses: the closest to `bits` bits per weight in a large matrix.
const Scheme& anchor_scheme(const MatrixTask& task, double bits);
// The name under which step 1 leaves the codes of a task as block `block` uses it.
std::string anchor_record(const MatrixTask& task, size_t block);

// All steps. `bits`: where the budget lies. Finished steps are kept in the workspace.
Survey run_survey(const Context& context, const std::vector<Block>& blocks,
                  const std::vector<MatrixTask>& tasks, const Recipe& recipe,
                  const CalibrationSet& calibration, double bits);

// The name of the workspace record that holds the second moment of a matrix's linear use.
std::string moment_record(const MatrixTask& task);

}  // namespace bitsmith
