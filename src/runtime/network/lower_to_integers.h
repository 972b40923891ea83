// Finds what a quantized network can compute in integers.
#pragma once

#include <map>
#include <string>

#include "formats/model.h"
#include "runtime/network/network_operator.h"
#include "runtime/network/products.h"

namespace bitsmith {

// Of the names of operators on codes.
inline constexpr const char* kCodePrefix = "int8.";

struct IntegerGraph {
  Graph graph;
  Encodings encodings;  // [values]
};

// Replaces nodes between dequantize and quantize by nodes on codes ("int8.conv", ...); copies
// (reshape, concat, ...) keep their names and move codes. Values keep their ids, those of codes are
// new. What is left computes in float32:
//   - operators that have no integer kernel, and those whose result no quantize reads;
//   - layers whose weights are not whole multiples of one number for each row (integer_layer.h), or
//     that `products` excludes, or with more than two spatial axes;
//   - values quantized by channel, or to codes that do not fit 8 bits.
// A layer, or a mean over the image, whose result no quantize reads gives float32 from its integer
// sums: so networks end.
// max_pool, relu and copies need no quantize of their own: their result has the input's scale.
//   graph: with activations joined (lay_out.h)
IntegerGraph lower_to_integers(const Graph& graph,
                               const std::map<std::string, CodedTensor>& parameters,
                               Products products = Products::kAuto);

}  // namespace bitsmith
