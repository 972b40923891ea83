// What transforms may know of a network's activations.
#pragma once

#include <cstddef>
#include <vector>

#include "calibration/second_moment.h"

namespace bitsmith {

class LayerInputs {
 public:
  virtual ~LayerInputs() = default;
  // The mean of x xᵀ over calibration tokens, [cols, cols] row-major float64, x being what node
  // `node` of the network as it was (a linear layer) multiplies. To be asked for nodes in ascending
  // order: only the latest block's are in memory. Valid until the next call.
  virtual const std::vector<double>& second_moment(size_t node) = 0;
  // Of the same x, [cols] each; under the same conditions.
  virtual const ChannelSpread& spread(size_t node) = 0;
};

}  // namespace bitsmith
