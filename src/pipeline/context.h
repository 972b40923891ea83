// What every step of the pipeline works with.
#pragma once

#include <cstdint>
#include <vector>

#include "core/progress.h"
#include "core/thread_pool.h"
#include "formats/model.h"
#include "pipeline/workspace.h"
#include "reference/torch.h"

namespace bitsmith {

struct Context {
  const Model& model;
  ThreadPool& pool;
  Progress& progress;
  Workspace& workspace;
  at::Device device = at::kCPU;
  uint64_t seed = 0;
  uint64_t activation_bytes = 0;  // a store of activations that is larger lies on disk
  // Of an importance matrix, which says all that is known of inputs: the mean square of each input
  // of each task's matrix, [tasks][cols], empty for tables. nullptr: there is none.
  const std::vector<std::vector<float>>* input_squares = nullptr;
};

}  // namespace bitsmith
