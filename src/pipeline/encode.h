// Codes every matrix according to a plan, block by block, each seeing the coded blocks before it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/mapped_file.h"
#include "pipeline/block_runner.h"
#include "pipeline/calibration_set.h"
#include "pipeline/plan.h"

namespace bitsmith {

// One matrix as it was coded.
struct EncodedMatrix {
  std::string name;
  Scheme scheme;
  std::shared_ptr<MappedFile> file;  // its bytes, in the workspace
  double squared_error = 0;          // sum of (w - q)², q with what a residual adds back
  double squared_weight = 0;         // sum of w²
  double output_error = 0;  // mean over tokens of |W x - Q x|², or 0 if it was not measured
  double relative_mse() const { return squared_weight > 0 ? squared_error / squared_weight : 0; }
};

// Results for the tasks, in their order. Every finished block is a record in the workspace; a run
// that was stopped goes on after the last one and produces the same bytes.
//   calibration: nullptr if the recipe needs none
std::vector<EncodedMatrix> encode(const Context& context, const std::vector<Block>& blocks,
                                  const std::vector<MatrixTask>& tasks, const Recipe& recipe,
                                  const Plan& plan, const CalibrationSet* calibration);

}  // namespace bitsmith
