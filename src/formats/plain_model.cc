#include "formats/plain_model.h"

#include "core/error.h"
#include "families/family.h"

namespace bitsmith {

void check_is_plain(const Model& model, std::string_view purpose) {
  if (!is_language_model(model.graph)) {
    fail(ErrorCode::kUnsupported, "'{}' is no language model, which {}", model.path.string(),
         purpose);
  }
  if (model.config.is_object() && model.config.contains("model_type") &&
      build_graph(model.config).to_json() == model.graph.to_json()) {
    return;
  }
  fail(ErrorCode::kUnsupported,
       "'{}': its graph is not that of its config.json (a transformed model), which {}",
       model.path.string(), purpose);
}

}  // namespace bitsmith
