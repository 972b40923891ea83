// The text that statistics are measured on.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/progress.h"
#include "core/thread_pool.h"
#include "formats/model.h"

namespace bitsmith {

// Token sequences of equal length. The first `count` feed the second moments; the `probes` after
// them are kept apart, to measure sensitivities and the final error on text that no code was fitted
// to.
struct CalibrationSet {
  int64_t length = 0;
  int64_t count = 0;
  int64_t probes = 0;
  std::vector<std::vector<TokenId>> sequences;  // [count + probes][length]
  nlohmann::json description;  // for the checkpoint: where it is from, its checksum
};

struct CalibrationRequest {
  std::filesystem::path text;  // empty: sampled from the model itself
  int64_t sequences = 128;
  int64_t length = 0;  // 0: the model's context, at most 512
  uint64_t seed = 0;
  uint64_t ram_bytes = uint64_t{4} << 30;  // bounds what sampling takes; the text is the same
};

// The sizes of the set, without its sequences: an upper bound, since a text may be short. Throws
// kInvalidArgument if the length is beyond the model's context.
CalibrationSet plan_calibration(const Model& model, const CalibrationRequest& request);

// Cuts the text into windows and takes evenly spread ones (as many as there are, if the text is
// short; kInvalidArgument if it has not even two windows).
CalibrationSet make_calibration_set(const Model& model, const CalibrationRequest& request,
                                    ThreadPool& pool, Progress& progress);

}  // namespace bitsmith
