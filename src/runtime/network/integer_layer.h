// The weights and the bias of a convolution or fully connected layer as integers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace bitsmith {

struct IntegerLayer {
  std::vector<int32_t> weights;  // as the layer's own, [outputs, ...]
  std::vector<int32_t> bias;     // [outputs] in units of `scales`; empty if there is none
  std::vector<double> scales;    // [outputs]: x scale * weight scale, may be below 0
  // Whether weights are of 8 bits and sums so small that they can be multiplied; else they are sums
  // of few powers of two, to be shifted.
  bool is_int8 = true;
};

// Finds the scale of each row: a row is taken if it is whole multiples of one number, whatever
// codec it was decoded from: of 8 bits, or of up to 24 with at most four powers of two in each.
// Biases are rounded to whole units of x scale * weight scale; a bias of more than 2^30 units
// (weights next to nothing) makes its row's unit larger. nullopt if a row is something else, or its
// sums could exceed 32 bits.
//   weights [outputs, inputs] row-major, bias [outputs] or empty
std::optional<IntegerLayer> make_integer_layer(std::span<const float> weights, int64_t outputs,
                                               std::span<const float> bias, double x_scale,
                                               uint8_t x_zero);

}  // namespace bitsmith
