// Where methods register themselves under their own names; nothing else lists them.
#pragma once

#include <fmt/ranges.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/options.h"

namespace bitsmith {

// What every registered part says of itself.
struct PartInfo {
  std::string id;       // the file's stem; fixed for ever once released
  std::string summary;  // one line
  std::string source;   // paper or specification
  std::vector<OptionSpec> options = {};
};

// One registry, whatever its parts are: for listings of everything there is.
struct RegistryView {
  std::string kind;                         // "codec"
  std::vector<const PartInfo*> (*parts)();  // in order of id
};

// Every registry that something was registered in or asked from, in order of kind.
std::vector<RegistryView> all_registries();
void add_registry(const RegistryView& view);  // for Registry only

// The registered parts of one kind. `Part` has `const PartInfo& info() const` and a static
// `kind()` that names the kind in messages. Filled during static initialisation, read-only after.
template <class Part>
class Registry {
 public:
  static Registry& instance() {
    static Registry registry;
    return registry;
  }

  void add(std::unique_ptr<const Part> part) {
    const std::string id = part->info().id;
    BITSMITH_ASSERT(!parts_.contains(id));
    parts_[id] = std::move(part);
  }

  // Throws kNotFound with the names there are.
  const Part& get(std::string_view id) const {
    const auto it = parts_.find(id);
    if (it == parts_.end()) {
      std::vector<std::string> names;
      for (const auto& [name, part] : parts_) names.push_back(name);
      fail(ErrorCode::kNotFound, "there is no {} '{}'; there are: {}", Part::kind(), id,
           fmt::join(names, ", "));
    }
    return *it->second;
  }

  const Part* find(std::string_view id) const {
    const auto it = parts_.find(id);
    return it == parts_.end() ? nullptr : it->second.get();
  }

  // In order of id.
  std::vector<const Part*> all() const {
    std::vector<const Part*> result;
    for (const auto& [name, part] : parts_) result.push_back(part.get());
    return result;
  }

 private:
  Registry() {
    add_registry({Part::kind(), [] {
                    std::vector<const PartInfo*> result;
                    for (const Part* part : instance().all()) result.push_back(&part->info());
                    return result;
                  }});
  }

  std::map<std::string, std::unique_ptr<const Part>, std::less<>> parts_;
};

// Put at namespace scope in the part's file: registers `Class` among the parts of kind `Part`.
template <class Part, class Class>
struct Registration {
  Registration() { Registry<Part>::instance().add(std::make_unique<const Class>()); }
};

}  // namespace bitsmith
