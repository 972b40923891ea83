// The methods that need no torch (solvers, allocators, recipes): loaded when they are asked for.
#pragma once

namespace bitsmith {

// Afterwards everything has registered itself (core/registry.h). Throws kNotFound if the library of
// the methods is not beside the other libraries.
void load_methods();

}  // namespace bitsmith
