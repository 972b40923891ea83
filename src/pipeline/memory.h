// How much memory compressing takes, by a formula, before any work starts.
#pragma once

#include <cstdint>
#include <string>

#include "pipeline/calibration_set.h"
#include "pipeline/tasks.h"

namespace bitsmith {

// Code, torch and its pools, 175 MB as measured with a model of 0.03 M weights, and slack for what
// the allocator keeps of freed memory.
inline constexpr uint64_t kProgramBytes = uint64_t{220} << 20;

struct MemoryEstimate {
  // What must be in memory at one time whatever --ram says: the program and what one block needs.
  uint64_t fixed_bytes = 0;
  std::string reason;  // what needs it: "trying candidates in block 'layers.3.mlp', ..."

  // Activations of all sequences, and of the probes alone, at one cut point.
  uint64_t sequences_bytes = 0;
  uint64_t probes_bytes = 0;
  uint64_t probe_stores = 0;  // cut points at which the survey keeps them; 0 without one

  // For calibration text that the model writes itself: its bytes in the file and the keys and
  // values of one sequence; 0 if it does not.
  uint64_t model_bytes = 0;
  uint64_t cache_bytes = 0;

  // What one store of activations may hold in memory; a larger one is spilled to disk.
  uint64_t activation_bytes(uint64_t ram_bytes) const;
  uint64_t peak_bytes(uint64_t ram_bytes) const;
};

struct MemoryRequest {
  const CalibrationSet* calibration = nullptr;  // its sizes; nullptr if the recipe needs none
  bool sampled = false;                         // the model writes the calibration text
  bool surveyed = false;
  bool transformed = false;  // by transforms that read statistics
  int threads = 1;
  int64_t scratch_bytes = 0;  // Solver::scratch_bytes() of the recipe's solvers, the larger
  bool known_inputs = false;  // by an importance matrix
  const Chosen<Residual>* residual = nullptr;  // beside layers, if their tasks say so
};

MemoryEstimate estimate_memory(const Model& model, const std::vector<Block>& blocks,
                               const std::vector<MatrixTask>& tasks, const MemoryRequest& request);

// Throws kImpossibleBudget with the smallest --ram that works and what needs it.
void check_memory(const MemoryEstimate& estimate, uint64_t ram_bytes);

// How the model's own text is sampled within `ram_bytes`; the text does not depend on it.
//   cache_bytes: sequence_cache_bytes(), keys and values of one sequence in the native executor
struct SamplingPlan {
  int64_t together = 1;          // sequences that share each reading of the weights
  bool release_weights = false;  // the model takes over half: its pages are dropped after each use
};
uint64_t sequence_cache_bytes(const Model& model, int64_t length);
SamplingPlan plan_sampling(uint64_t model_bytes, uint64_t cache_bytes, uint64_t ram_bytes);

}  // namespace bitsmith
