// The instruction sets that kernels are compiled for: include before any header of Highway.
#pragma once

// SSSE3 without SSE4 is not worth its code size; vectors without a length known at compile time
// cannot be kept in arrays, which the register tiles here are.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
