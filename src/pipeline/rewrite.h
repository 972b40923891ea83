// The model that a transformed network stands for.
#pragma once

#include <filesystem>

#include "core/progress.h"
#include "core/thread_pool.h"
#include "transforms/network.h"

namespace bitsmith {

// `original` with the network's graph. Parameters that it changes have their shapes and schemes,
// but no contents yet: float32 where weights are computed; vectors of given values bf16 if that is
// exact.
Model rewritten_model(const Model& original, const Network& network);

// Gives the changed parameters of `model`, a rewritten_model(), their contents. They are computed
// one at a time into a file in `folder` that appears whole or not at all; if it is there from an
// earlier run of the same job, it is used as it is. Disk: 4 bytes for each changed weight.
//   informed: makes the network whose changes are written, where they depend on statistics; called
//   if there is no file yet. It changes the same parameters as `network`.
void write_changed_parameters(const Model& original, const Network& network,
                              const std::filesystem::path& folder, ThreadPool& pool,
                              Progress& progress, Model& model,
                              const std::function<Network()>& informed = {});

}  // namespace bitsmith
