#include "families/family.h"

#include "families/config.h"

namespace bitsmith {

const Family& family_of(const nlohmann::json& config) {
  const Config fields(config);
  const std::string type = fields.text("model_type");
  const Family* family = Registry<Family>::instance().find(type);
  if (family == nullptr) {
    std::vector<std::string> known;
    for (const Family* f : Registry<Family>::instance().all()) known.push_back(f->info().id);
    fail(ErrorCode::kUnsupported,
         "config.json: model_type '{}' is not supported; supported are: {}", type,
         fmt::join(known, ", "));
  }
  return *family;
}

Graph build_graph(const nlohmann::json& config) { return family_of(config).build(config); }

}  // namespace bitsmith
