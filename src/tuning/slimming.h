// Structured pruning: which channels of a network go, and the smaller dense network without them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "formats/model.h"

namespace bitsmith {

// The scales |γ| of the batch norm behind each convolution or fully connected layer that
// fold_batch_norms() would fold it into, by the layer's name, [outputs].
//   model: before folding
std::map<std::string, std::vector<float>> batch_norm_scales(const Model& model);

struct SlimOptions {
  double share = 0.5;   // of the channels that may go
  bool global = false;  // ranked over all layers; false: each layer loses the same share
  double keep = 0.1;    // of each layer's channels, at least; and one
};

// Channels that one layer makes and that are removed together with what reads them: the same rows
// of depthwise layers and norms behind it, the columns of the layers that they end in.
struct SlimSite {
  std::string layer;            // that makes them
  std::vector<bool> kept = {};  // [channels]
};

// Layers of whose channels some may go. Left alone are channels that are tied to others (by add,
// multiply and other operators of two activations, by concat and by grouped convolutions that are
// not depthwise), those of the network's inputs and outputs, and whatever an operator reads of
// which nothing is known here. Nothing is removed yet.
std::vector<SlimSite> find_slim_sites(const Graph& graph);

// Marks the channels of least score.
//   scores: of each site's channels, as batch_norm_scales(); a site without any is ranked by the
//           Euclidean norms of its layer's filters, in `model`, and only within its layer
// Liu et al. 2017 (network slimming), arXiv:1708.06519, section 3; differs: scales are those that
// the network was trained with, without a penalty that makes them sparse. Throws kInvalidArgument
// if `global` and some site has no scores, kUnsupported if there are no sites. Ties go by position.
void choose_channels(std::vector<SlimSite>& sites, const Model& model,
                     const std::map<std::string, std::vector<float>>& scores,
                     const SlimOptions& options);

// The network without the channels that are not kept: all shapes are inferred anew. It computes
// what `model` does when the weights that read those channels are 0. Changed parameters become
// float32. Node and parameter names stay.
Model slimmed(const Model& model, const std::vector<SlimSite>& sites);

}  // namespace bitsmith
