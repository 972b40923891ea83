// The instruction sets this CPU has, and how to do without the better ones.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bitsmith {

// The targets that kernels are compiled for and this CPU has, best first, by Highway's names:
// "AVX3_DL" (AVX-512 with VNNI), "AVX3" (AVX-512), "AVX2", "NEON", "SCALAR" (portable).
std::vector<std::string> cpu_targets();

// Makes all kernels use the best target that is not better than `name`, which is one of
// cpu_targets(); "" lifts the limit. For tests and comparisons: not while kernels run.
// The environment variable BITSMITH_TARGET does the same for a whole program; a name that is not
// known there is ignored.
void limit_cpu_target(std::string_view name);

// The target in use.
std::string cpu_target();

}  // namespace bitsmith
