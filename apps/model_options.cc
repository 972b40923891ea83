#include "model_options.h"

namespace bitsmith {

std::optional<int64_t> context_limit(const Model& model) {
  if (!model.config.is_object()) return std::nullopt;
  const auto it = model.config.find("max_position_embeddings");
  if (it == model.config.end() || !it->is_number_integer() || it->get<int64_t>() < 1) {
    return std::nullopt;
  }
  return it->get<int64_t>();
}

double bits_per_weight(uint64_t bytes, int64_t weights) {
  return weights > 0 ? 8 * static_cast<double>(bytes) / static_cast<double>(weights) : 0;
}

}  // namespace bitsmith
