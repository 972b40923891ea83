#include "families/window.h"

#include "core/error.h"

namespace bitsmith {

int64_t optional_window(const Config& config, int64_t layer) {
  const int64_t window = config.size_or("sliding_window", 0);
  if (config.has("layer_types")) {
    const nlohmann::json& types = config.json()["layer_types"];
    if (!types.is_array() || static_cast<int64_t>(types.size()) <= layer) {
      fail(ErrorCode::kCorrupt, "config.json: 'layer_types' must list every layer");
    }
    return types[static_cast<size_t>(layer)] == "sliding_attention" ? window : 0;
  }
  if (!config.flag_or("use_sliding_window", false)) return 0;
  return layer >= config.size_or("max_window_layers", 0) ? window : 0;
}

}  // namespace bitsmith
