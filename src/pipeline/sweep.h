// The curve of size against quality.
#pragma once

#include "pipeline/compress.h"

namespace bitsmith {

struct SweepPoint {
  double bits = 0;  // asked for
  uint64_t tensor_bytes = 0;
  double bpw = 0;  // got
  double predicted_kl_nats = 0;
  Evaluation quality;  // of the native executor against the original
};

struct SweepReport {
  uint64_t original_bytes = 0;
  double original_bpw = 0;
  std::vector<SweepPoint> points;
  nlohmann::json to_json() const;
};

// Compresses to each of `bits` without writing a checkpoint, and measures on `text` (windows of the
// model's context), or on held-out calibration sequences if it is empty.
SweepReport sweep(const CompressRequest& request, const std::vector<double>& bits,
                  const std::filesystem::path& text, Progress& progress);

}  // namespace bitsmith
