// The instruction sets that kernels are compiled for: include before any header of Highway.
#pragma once

// x86 without AVX2 has neither fused multiply-add, without which float results would differ from
// those of other targets, nor conversion of binary16; it runs the portable code. Vectors without a
// length known at compile time cannot be kept in arrays, which the register tiles here are.
#define BITSMITH_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS BITSMITH_DISABLED_TARGETS
#endif
