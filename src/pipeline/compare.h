// Several recipes on one model, side by side.
#pragma once

#include "pipeline/compress.h"
#include "pipeline/measurement_data.h"

namespace bitsmith {

struct ComparePoint {
  std::string recipe;
  uint64_t tensor_bytes = 0;  // after entropy coding, if the recipe has it
  double bpw = 0;
  double seconds = 0;  // to compress, with surveys and statistics
  // By the native executor: tokens written one by one, from an empty context, or images in batches.
  double rate = 0;
  // Of the native executor against the original: one of these.
  std::optional<Evaluation> quality;
  std::optional<ClassifierEvaluation> accuracy;
};

struct CompareReport {
  uint64_t original_bytes = 0;
  double original_bpw = 0;
  double original_rate = 0;
  std::vector<ComparePoint> points;
  nlohmann::json to_json() const;
};

// Compresses with each of `recipes` without writing a checkpoint, and measures on `data`. The
// request's budget is for recipes that choose among codes, its calibration data, and overrides of
// [calibrate], for those that read some; other overrides are for all.
CompareReport compare(const CompressRequest& request, const std::vector<std::string>& recipes,
                      const MeasurementData& data, Progress& progress);

}  // namespace bitsmith
