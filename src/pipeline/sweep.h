// The curve of size against quality.
#pragma once

#include "pipeline/compress.h"
#include "pipeline/measurement_data.h"

namespace bitsmith {

struct SweepPoint {
  double bits = 0;  // asked for
  uint64_t tensor_bytes = 0;
  double bpw = 0;  // got
  double predicted_kl_nats = 0;
  // Of the native executor against the original: one of these.
  std::optional<Evaluation> quality;
  std::optional<ClassifierEvaluation> accuracy;
};

struct SweepReport {
  uint64_t original_bytes = 0;
  double original_bpw = 0;
  std::vector<SweepPoint> points;
  nlohmann::json to_json() const;
};

// Compresses to each of `bits` without writing a checkpoint, and measures on `data` (a text in
// windows of the model's context), or on held-out calibration data if it names none.
SweepReport sweep(const CompressRequest& request, const std::vector<double>& bits,
                  const MeasurementData& data, Progress& progress);

}  // namespace bitsmith
