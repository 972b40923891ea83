// Sliding windows that only some layers have, as Qwen's configurations state them.
#pragma once

#include "families/config.h"

namespace bitsmith {

// `layer_types` decides where it is given; else layers from `max_window_layers` on slide if
// `use_sliding_window` is true. Returns the window's length, 0 for full attention. Kinds of layers
// that are neither full nor sliding are kUnsupported.
int64_t optional_window(const Config& config, int64_t layer);

}  // namespace bitsmith
