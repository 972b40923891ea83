// Quantized activations: the places in the graph where a value is rounded to few levels.
#pragma once

#include "graph/graph.h"

namespace bitsmith::ops {

// Per tensor: scale and zero point are parameters []. Per channel: [n], one for each position on
// `axis` of x. scale > 0; zero_point holds whole numbers in [low, high], or is kNoValue (0).

// Integer codes: clamp(round(x / scale) + zero_point, low, high); ties round to even. [low, high]
// is [0, 255] for uint8, [-128, 127] for int8, ...; at most 2^24 values.   x [...] -> [...]
ValueId quantize(Graph& graph, std::string name, ValueId x, ValueId scale, ValueId zero_point,
                 int64_t axis, int64_t low, int64_t high);

// (q - zero_point) * scale.   q [...] -> [...]
ValueId dequantize(Graph& graph, std::string name, ValueId q, ValueId scale, ValueId zero_point,
                   int64_t axis);

// Each row of the last extent rounded to whole numbers of `bits` bits times a scale of its own,
// which is chosen when it is seen ("dynamic quantization per token"):  with n = 2^(bits - 1) - 1
// and m = max |x|,  round(x * (n / m)) * (m / n),  each step in binary32, ties to even;  0 for rows
// below 2^-120.   x [...] -> the same shape;  bits 2 to 8. A linear layer with integer weights that
// reads it multiplies integers.
ValueId round_tokens(Graph& graph, std::string name, ValueId x, int64_t bits);

}  // namespace bitsmith::ops
