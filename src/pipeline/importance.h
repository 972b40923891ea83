// Importance matrices for llama.cpp's tools, from a text.
#pragma once

#include "core/progress.h"
#include "formats/imatrix.h"
#include "pipeline/calibration_set.h"

namespace bitsmith {

struct ImportanceRequest {
  std::filesystem::path model;     // a language model
  CalibrationRequest calibration;  // all of its sequences count: nothing is kept apart
  int threads = 0;                 // 0: all processors
};

// The mean square of each input of each matrix that is multiplied, under the names that GGUF gives
// the matrices, by the reference executor in float32. kUnsupported for families without such names.
ImportanceMatrix measure_importance(const ImportanceRequest& request, Progress& progress);

// The sums of several, as if their texts were one; those without a chunk size (the older format,
// which counts chunks) had chunks as large as the others'. kInvalidArgument if they are of
// different models.
ImportanceMatrix merged(const std::vector<ImportanceMatrix>& parts);

}  // namespace bitsmith
