// In which numbers a network is computed.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/model.h"

namespace bitsmith {

struct IntegerGraph;

struct NetworkArithmetic {
  int64_t integer_multiply_adds = 0;  // for one image, in matrices and convolutions
  int64_t float_multiply_adds = 0;
  // Nodes that compute in float32: all but copies, the quantization of inputs and what follows the
  // last integer. "name (op)"
  std::vector<std::string> float_nodes;

  // From the quantized input to the numbers that leave the last layer, all is integers.
  bool integer_only() const { return integer_multiply_adds > 0 && float_nodes.empty(); }

  // "integers only", "float32", or what share of the multiply-adds are integers and which nodes are
  // not.
  std::string text() const;
  nlohmann::json to_json() const;
};

NetworkArithmetic count_arithmetic(const IntegerGraph& lowered);

// Of a model as the native executor would run it.
NetworkArithmetic network_arithmetic(Model model);

}  // namespace bitsmith
