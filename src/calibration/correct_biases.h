// Bias correction: what coding a layer's weights adds to its outputs on average is taken off its
// bias.
#pragma once

#include "calibration/observe_values.h"

namespace bitsmith {

// Gives every convolution and fully connected layer without a bias one of zeros, "<layer>.bias".
void add_missing_biases(Model& model);

// For each convolution and fully connected layer whose weight differs from the original's, by the
// mean over images and pixels of (coded - original weight) * x, where x is the layer's input in the
// original network: exactly, padding included, since layers are linear. Biases become (or stay)
// float32 parameters; layers without one (see add_missing_biases) and biases that several layers
// read stay as they are. Returns how many layers were corrected.
//   original: the same graph with the weights before coding
// Memory: the mean input of every layer, float64. Nagel et al. 2019, arXiv:1906.04721, section 4.3;
// differs: means are measured, not derived from batch norms.
int correct_biases(Model& coded, const Model& original, const CalibrationInputs& inputs,
                   ThreadPool& pool);

}  // namespace bitsmith
