// Which weights are pruned, and when.
#pragma once

#include <cstdint>

#include "tuning/tuned_network.h"

namespace bitsmith {

// What weights are ranked against.
//   kLayer   the weights of their own matrix: each loses the same share
//   kGlobal  all weights, by magnitude
//   kLamp    all weights, by w² / (sum of the squares of the weights of their matrix that are not
//            smaller): what pruning it adds to the matrix's relative error. Small layers, and those
//            whose scale is large, keep more (Lee et al. 2021, arXiv:2010.07611)
enum class PruneScope : uint8_t { kLayer, kGlobal, kLamp };

struct PruneOptions {
  double sparsity = 0;  // share of all weights of matrices that are 0 at the end
  PruneScope scope = PruneScope::kLamp;
  int64_t block = 0;   // M of N:M: among each M consecutive columns as many are pruned; 0: any
  double begin = 0;    // share of the steps before pruning begins
  double end = 0.6;    // and at which it has reached `sparsity`
  int64_t every = 16;  // steps between two choices
  // Pruned weights go on learning, and come back when they have grown (dynamic network surgery,
  // Guo et al. 2016, arXiv:1608.04493): a weight's rank counts kHysteresis more while it is kept.
  bool regrow = true;
};

// The share that is pruned at `done` of `total` steps: s (1 - (1 - t)³), t running from 0 to 1
// between begin and end (Zhu and Gupta 2017, arXiv:1710.01878, eq. 1).
double sparsity_at(const PruneOptions& options, int64_t done, int64_t total);

// Holds the round(sparsity * weights) lowest-ranked weights of all matrices at zero and frees the
// others; with a block, floor(sparsity * M) of each block of M columns (fewer in a block that is
// cut off by the end of the row). Without regrowth, what is held stays held. Ties go by position.
void prune(TunedNetwork& network, double sparsity, const PruneOptions& options);

// Weights of matrices that are not 0, and all of them.
struct Density {
  int64_t kept = 0;
  int64_t weights = 0;
};
Density density_of(const TunedNetwork& network);

}  // namespace bitsmith
