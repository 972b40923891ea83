// What every step of the pipeline works with.
#pragma once

#include <cstdint>

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
};

}  // namespace bitsmith
