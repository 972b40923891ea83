// Frequencies of rotary position embeddings, with the published ways of scaling them.
#pragma once

#include <vector>

#include "families/config.h"

namespace bitsmith {

struct RopeParameters {
  std::vector<double> frequencies;  // [head_dim / 2], radians per position
  double magnitude = 1.0;           // multiplies cos and sin
};

// Reads `rope_theta` + `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5).
// Types: default, linear, llama3, yarn, and bitsmith's own "factors", a divisor for each frequency,
// which GGUF files keep; others, and fields unknown here, are kUnsupported by name.
RopeParameters read_rope(const Config& config, int64_t head_dim);

// Gemma 3's layers with a sliding window have frequencies of their own. The configuration with the
// rotary fields of one kind of layers: `rope_local_base_freq` beside `rope_theta` + `rope_scaling`,
// which are those of the others (transformers 4), or `rope_parameters` for each kind
// (transformers 5). Where nothing is stated, the bases are 1e4 for sliding layers, 1e6 for others.
nlohmann::json rope_config(const nlohmann::json& config, bool sliding);

}  // namespace bitsmith
