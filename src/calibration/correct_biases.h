// Bias correction: what coding a layer's weights adds to its outputs on average is taken off its
// bias.
#pragma once

#include "calibration/observe_values.h"

namespace bitsmith {

// Gives every convolution and fully connected layer without a bias one of zeros, "<layer>.bias".
void add_missing_biases(Model& model);

// What a layer is taken to read.
//   kOriginal  what it reads in the original network: only its own weight's error is taken off
//   kCoded     what it reads in the coded network, layer after layer, with the biases before it
//              corrected: each channel then has the mean that it has in the original network, which
//              is what estimating the means of batch norms anew does where they are folded. No
//              better by rule: bench/results/images.txt has a network that it helps and one that it
//              harms
enum class MeanInputs { kOriginal, kCoded };

// For each convolution and fully connected layer, by the mean over images and pixels of what coding
// adds to each output channel: exactly, padding included, since layers are linear. Biases become
// (or stay) float32 parameters; layers without one (see add_missing_biases) and biases that several
// layers read stay as they are. Scales of channels stay too: codes hold those of rows in 16 bits,
// or not at all. Returns how many layers were corrected.
//   original: the same graph with the weights before coding
// Memory: the mean input of every layer, float64. Time: of kCoded, for each layer, the network up
// to it over all images. Nagel et al. 2019, arXiv:1906.04721, section 4.3 and appendix D; differs:
// means are measured, not derived from batch norms.
int correct_biases(Model& coded, const Model& original, const CalibrationInputs& inputs,
                   ThreadPool& pool, MeanInputs means = MeanInputs::kOriginal);

}  // namespace bitsmith
