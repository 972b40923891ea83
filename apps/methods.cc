#include "methods.h"

#include <dlfcn.h>

#include "core/error.h"

namespace bitsmith {

void load_methods() {
  // Found like the libraries that are linked, by the program's run path; never closed.
  if (::dlopen(BITSMITH_METHODS_LIBRARY, RTLD_LAZY | RTLD_GLOBAL) != nullptr) return;
  const char* reason = ::dlerror();
  fail(ErrorCode::kNotFound, "the methods cannot be loaded: {}; install bitsmith again",
       reason != nullptr ? reason : "unknown reason");
}

}  // namespace bitsmith
