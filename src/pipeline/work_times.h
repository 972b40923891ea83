// How long the parts of compressing take on this machine, and what that makes of the whole.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "pipeline/calibration_set.h"
#include "pipeline/context.h"
#include "pipeline/tasks.h"

namespace bitsmith {

// In seconds, with all threads at work. A survey measures them on the whole network; where there is
// none, sample_times() measures a few parts and scales them.
struct WorkTimes {
  std::vector<double> forward;  // [blocks]: the calibration sequences through the block
  std::vector<double> moments;  // [blocks]: the second moments of what its matrices multiply
  std::vector<double> solving;  // [tasks]: the codes of the whole matrix, written to the workspace;
                                // the first of those that read one activation factors its moment

  nlohmann::json to_json() const;
  static WorkTimes from_json(const nlohmann::json& json);
};

// [blocks]: multiplications for each token or image, to which a forward pass's time is about
// proportional; at least 1.
std::vector<double> forward_work(const std::vector<Block>& blocks,
                                 const std::vector<MatrixTask>& tasks);

// Runs a few sequences of random numbers through two neighbouring blocks and solves some rows for
// each length of row: some seconds for a network of 1 B weights.
//   calibration: nullptr if the recipe needs none
WorkTimes sample_times(const Context& context, const std::vector<Block>& blocks,
                       const std::vector<MatrixTask>& tasks, const Recipe& recipe,
                       const CalibrationSet* calibration);

// [blocks]: what coding (encode.h) takes: the passes and second moments of its stages, the codes,
// and the pass that carries the coded block's output to the next.
//   picks [tasks]: the schemes; tensors that stay as they are cost nothing
std::vector<double> coding_seconds(const Graph& graph, const std::vector<Block>& blocks,
                                   const std::vector<MatrixTask>& tasks,
                                   const std::vector<size_t>& picks, const WorkTimes& times,
                                   bool calibrated);

// What comes after it: both networks over the probes. Writing and reading back the file take little
// beside that.
double finishing_seconds(const WorkTimes& times, const CalibrationSet* calibration);

}  // namespace bitsmith
