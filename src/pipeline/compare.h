// Several recipes on one model, side by side.
#pragma once

#include "pipeline/compress.h"

namespace bitsmith {

struct ComparePoint {
  std::string recipe;
  uint64_t tensor_bytes = 0;  // before entropy coding
  double bpw = 0;
  double seconds = 0;            // to compress, with surveys and statistics
  double text_tokens_per_s = 0;  // written one by one by the native executor, from an empty context
  Evaluation quality;            // of the native executor against the original
};

struct CompareReport {
  uint64_t original_bytes = 0;
  double original_bpw = 0;
  double original_tokens_per_s = 0;
  std::vector<ComparePoint> points;
  nlohmann::json to_json() const;
};

// Compresses with each of `recipes` without writing a checkpoint, and measures on `text`, which
// must be another file than the calibration text. The request's budget is for recipes that choose
// among codes, its calibration text, and overrides of [calibrate], for those that read one; other
// overrides are for all.
CompareReport compare(const CompressRequest& request, const std::vector<std::string>& recipes,
                      const std::filesystem::path& text, Progress& progress);

}  // namespace bitsmith
