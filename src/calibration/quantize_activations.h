// Which activations of a network become codes, and the quantize and dequantize nodes for them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "calibration/observe_values.h"
#include "calibration/observer.h"

namespace bitsmith {

// Values that share one scale and zero point. What a concat joins shares those of its result, where
// nobody else reads it: then joining is copying.
struct QuantizationSite {
  ValueId observed = kNoValue;  // whose range is that of all
  std::vector<ValueId> values;  // that are rounded, each by nodes of its own
};

// Of a graph whose batch norms are folded: everything that a convolution or fully connected layer,
// a mean over the image, or an operator on the way to one reads, and that integers can compute
// (runtime/network/lower_to_integers.h). A relu or clip belongs to the layer before it: its result
// is rounded, not the layer's. Results of max pools, reshapes and other copies keep the scale of
// their input. The network's last layer is not rounded. kInvalidArgument for a graph that has
// quantize nodes.
std::vector<QuantizationSite> find_quantization_sites(const Graph& graph);

struct ObserverChoice {
  const ObserverMethod* method = nullptr;
  Options options;
};

// The range of each site, from images. The same for any number of threads.
//   bytes: of activations that are kept at a time, see observe_values()
std::vector<ValueRange> observe_ranges(const Model& model, std::span<const QuantizationSite> sites,
                                       const CalibrationInputs& inputs,
                                       const ObserverChoice& observer, int bits, ThreadPool& pool,
                                       int64_t bytes = int64_t{1} << 28);

// The range of each site without images, from the statistics that batch norms stored: mean plus and
// minus `sigmas` standard deviations, over all channels. Behind a norm an activation is normal with
// the norm's shift and scale; relu and clip cut normal distributions; in sums the terms are
// independent; averages are no wider than what they average. Inputs are standard normal. Nagel et
// al. 2019, arXiv:1906.04721, section 4.2 (batch norms and ReLU; the rest is ours). kUnsupported
// naming the first site about which nothing is known: a layer without a norm.
//   graph: before the norms are folded (folding keeps values' ids)
std::vector<ValueRange> batch_norm_ranges(const Model& model,
                                          std::span<const QuantizationSite> sites, double sigmas);

// Puts `quantize` and `dequantize` after every value of the sites; all readers read the rounded
// value. Codes are [0, 2^bits - 1]. New parameters: "<value>.scale", "<value>.zero_point".
//   bits in [2, 8]
void insert_quantization(Model& model, std::span<const QuantizationSite> sites,
                         std::span<const ValueRange> ranges, int bits);

}  // namespace bitsmith
