// The steps of fine-tuning that recipes name, and the codes of what comes out.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "tuning/coding.h"
#include "tuning/pruning.h"
#include "tuning/tuner.h"

namespace bitsmith {

// A matrix with its codes.
struct TunedCodes {
  Scheme scheme;
  std::vector<std::byte> bytes;
};

// What a step works on.
struct TuningState {
  TunedNetwork& network;
  // The network before anything of it was compressed: what is distilled.
  const TunedNetwork& teacher;
  const ImageDataset& images;
  Preprocessing preprocessing;
  int64_t label_offset = 0;
  std::map<std::string, Scheme> codes;  // the recipe's, of all matrices by name, or of none
  bool entropy_coded = false;           // the file will be: masks are then bitmaps
  uint64_t seed = 1;
  int64_t first_epoch = 0;  // counts over the steps, so that each sees its own order of images
  ThreadPool& pool;
  Progress& progress;
};

struct TuningResult {
  TuneResult training;
  Density density;
  // Of matrices by name, if the step leaves them coded.
  std::map<std::string, TunedCodes> codes;
};

// What a tuning step does; found under its id.
struct TuningMethod {
  static const char* kind() { return "tuning method"; }
  PartInfo part;
  TuningResult (*run)(TuningState& state, const Options& options) = nullptr;
  const PartInfo& info() const { return part; }
};

// Zeros of matrices are held at the beginning of every step but `train`: they are what earlier
// steps pruned. Afterwards nothing is held or shared: numbers are values.
TuningResult run_tuning_step(const Chosen<TuningStep>& step, TuningState& state);

// Passes over the images that a step may take, rounded up.
int64_t epochs_of(const Chosen<TuningStep>& step);

// `code` for the weights that are not 0, under a mask if that is smaller.
Scheme scheme_for(const at::Tensor& value, const Scheme& code, bool entropy_coded);

// The nearest codes of all matrices; the network then has what they decode to.
std::map<std::string, TunedCodes> code_matrices(TunedNetwork& network,
                                                const std::map<std::string, Scheme>& codes,
                                                bool entropy_coded, ThreadPool& pool);

}  // namespace bitsmith
