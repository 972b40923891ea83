// Sliding windows that only some layers have, as configurations of Qwen and Gemma state them.
#pragma once

#include "families/config.h"

namespace bitsmith {

// `layer_types` decides where it is given; else layers from `max_window_layers` on slide if
// `use_sliding_window` is true. Returns the window's length, 0 for full attention. Kinds of layers
// that are neither full nor sliding are kUnsupported.
int64_t optional_window(const Config& config, int64_t layer);

// The same where all layers slide but every n-th: n is `sliding_window_pattern`, or `period` where
// that is not given. `layer_types` decides where it is given.
int64_t periodic_window(const Config& config, int64_t layer, int64_t period);

}  // namespace bitsmith
