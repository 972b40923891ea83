// The step that makes activations codes: after weights are coded, before the checkpoint is written.
#pragma once

#include "calibration/quantize_activations.h"
#include "pipeline/calibration_set.h"
#include "recipes/recipe.h"

namespace bitsmith {

// `model` with the nodes and parameters that code_activations() will add, of some numbers: what is
// added does not depend on what is observed. Throws kUnsupported for language models and networks
// in which nothing is left to do in integers.
Model with_activation_nodes(Model model, const ActivationCodes& codes);

// `model`, a language model, with every activation that a linear layer multiplies rounded to `bits`
// bits per token: by a node in front of the layers that read it. 0 bits: as it is. Throws
// kUnsupported for networks of images, and if activations are rounded already.
Model with_rounded_tokens(Model model, int bits);

struct CodedActivations {
  Model model;     // graph and parameters; those that are new or corrected lie in its buffers
  int biases = 0;  // that were corrected
  int values = 0;  // activations that are codes
};

// Biases corrected, if asked for, then ranges, then nodes.
//   coded: the network with coded weights;  floats: the same before coding
//   unfolded: before batch norms were folded, for ranges without images
//   images: nullptr if the recipe needs none
CodedActivations code_activations(const Model& coded, const Model& floats, const Model& unfolded,
                                  const ActivationCodes& codes, const CalibrationSet* images,
                                  uint64_t ram_bytes, ThreadPool& pool);

}  // namespace bitsmith
