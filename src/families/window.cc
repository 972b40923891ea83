#include "families/window.h"

#include <optional>

#include "core/error.h"

namespace bitsmith {

namespace {

// Whether `layer_types` says that a layer slides; nothing if it is not given.
std::optional<bool> slides(const Config& config, int64_t layer) {
  if (!config.has("layer_types")) return std::nullopt;
  const nlohmann::json& types = config.json()["layer_types"];
  if (!types.is_array() || static_cast<int64_t>(types.size()) != config.size("num_hidden_layers")) {
    fail(ErrorCode::kCorrupt, "config.json: 'layer_types' must list every layer");
  }
  const nlohmann::json& type = types[static_cast<size_t>(layer)];
  if (type == "full_attention") return false;
  if (type != "sliding_attention") {
    fail(ErrorCode::kUnsupported,
         "config.json: layer {} has {} in 'layer_types'; supported are full_attention and "
         "sliding_attention",
         layer, type.dump());
  }
  return true;
}

}  // namespace

int64_t optional_window(const Config& config, int64_t layer) {
  const bool used = config.flag_or("use_sliding_window", false);
  const std::optional<bool> listed = slides(config, layer);
  if (!listed) {
    if (!used) return 0;
    const int64_t window = config.size("sliding_window");
    return layer >= config.whole("max_window_layers", 0, 1 << 24) ? window : 0;
  }
  if (!*listed) return 0;
  if (config.has("use_sliding_window") && !used) {
    fail(ErrorCode::kCorrupt,
         "config.json: 'layer_types' has sliding layers, 'use_sliding_window' is false");
  }
  return config.size("sliding_window");
}

int64_t periodic_window(const Config& config, int64_t layer, int64_t period) {
  // transformers 4.53 and later write the field with an underscore.
  const int64_t own = config.size_or("_sliding_window_pattern", period);
  const int64_t n = config.size_or("sliding_window_pattern", own);
  const bool sliding = slides(config, layer).value_or((layer + 1) % n != 0);
  return sliding ? config.size("sliding_window") : 0;
}

}  // namespace bitsmith
