// The step that makes activations codes: after weights are coded, before the checkpoint is written.
#pragma once

#include "calibration/quantize_activations.h"
#include "pipeline/calibration_set.h"
#include "recipes/recipe.h"

namespace bitsmith {

// `model` with quantize and dequantize nodes as the recipe's [activations] say, of scale 1: what is
// added does not depend on what is observed. Throws kUnsupported for language models and networks
// in which nothing is left to do in integers.
Model with_activation_nodes(Model model, const ActivationCodes& codes);

struct CodedActivations {
  Model model;        // graph and parameters, those that are new or corrected in its buffers
  int corrected = 0;  // biases
  int values = 0;     // activations that are codes
};

// Biases corrected, if asked for, then ranges, then nodes.
//   coded: the network with coded weights;  floats: the same before coding
//   unfolded: before batch norms were folded, for ranges without images
//   images: nullptr if the recipe needs none
CodedActivations code_activations(const Model& coded, const Model& floats, const Model& unfolded,
                                  const ActivationCodes& codes, const CalibrationSet* images,
                                  uint64_t ram_bytes, ThreadPool& pool);

}  // namespace bitsmith
