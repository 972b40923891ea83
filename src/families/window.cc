#include "families/window.h"

#include "core/error.h"

namespace bitsmith {

int64_t optional_window(const Config& config, int64_t layer) {
  const bool used = config.flag_or("use_sliding_window", false);
  if (!config.has("layer_types")) {
    if (!used) return 0;
    const int64_t window = config.size("sliding_window");
    return layer >= config.whole("max_window_layers", 0, 1 << 24) ? window : 0;
  }
  const nlohmann::json& types = config.json()["layer_types"];
  if (!types.is_array() || static_cast<int64_t>(types.size()) != config.size("num_hidden_layers")) {
    fail(ErrorCode::kCorrupt, "config.json: 'layer_types' must list every layer");
  }
  const nlohmann::json& type = types[static_cast<size_t>(layer)];
  if (type == "full_attention") return 0;
  if (type != "sliding_attention") {
    fail(ErrorCode::kUnsupported,
         "config.json: layer {} has {} in 'layer_types'; supported are full_attention and "
         "sliding_attention",
         layer, type.dump());
  }
  if (config.has("use_sliding_window") && !used) {
    fail(ErrorCode::kCorrupt,
         "config.json: 'layer_types' has sliding layers, 'use_sliding_window' is false");
  }
  return config.size("sliding_window");
}

}  // namespace bitsmith
