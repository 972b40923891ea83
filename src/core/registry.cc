#include "core/registry.h"

#include <algorithm>
#include <mutex>

namespace bitsmith {
namespace {

// Filled during static initialisation, when no order among files is given.
struct Views {
  std::mutex mutex;
  std::vector<RegistryView> views;
};

Views& registries() {
  static Views views;
  return views;
}

}  // namespace

void add_registry(const RegistryView& view) {
  Views& all = registries();
  const std::lock_guard lock(all.mutex);
  all.views.push_back(view);
}

std::vector<RegistryView> all_registries() {
  Views& all = registries();
  const std::lock_guard lock(all.mutex);
  std::vector<RegistryView> views = all.views;
  std::ranges::sort(views, {}, &RegistryView::kind);
  return views;
}

}  // namespace bitsmith
