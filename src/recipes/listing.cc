// Shows the built-in recipes beside the parts that registered themselves (`bitsmith list recipes`).
#include <memory>

#include "core/registry.h"
#include "recipes/recipe.h"

namespace bitsmith {
namespace {

// In order of id; read on first use and kept.
std::vector<const PartInfo*> recipe_infos() {
  static const std::vector<std::unique_ptr<const PartInfo>> infos = [] {
    std::vector<std::unique_ptr<const PartInfo>> result;
    for (const BuiltInRecipe& built_in : built_in_recipes()) {
      const std::string id(built_in.id);
      const Recipe recipe = load_recipe(id, {});
      result.push_back(
          std::make_unique<const PartInfo>(PartInfo{id, recipe.summary, recipe.source}));
    }
    return result;
  }();
  std::vector<const PartInfo*> result;
  for (const auto& info : infos) result.push_back(info.get());
  return result;
}

const struct Listing {
  Listing() { add_registry({"recipe", recipe_infos}); }
} kListing;

}  // namespace
}  // namespace bitsmith
