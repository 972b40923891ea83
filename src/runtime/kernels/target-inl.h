// What every file of kernels needs per target: VNNI instructions, and loops unrolled at compile
// time.

#if defined(BITSMITH_TARGET_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITSMITH_TARGET_INL_H_
#undef BITSMITH_TARGET_INL_H_
#else
#define BITSMITH_TARGET_INL_H_
#endif

#include <cstddef>
#include <type_traits>
#include <utility>

#include "hwy/highway.h"

// Instead of HWY_BEFORE_NAMESPACE: Highway 1.0.3 names avxvnni (the 256-bit encoding) among the
// features of AVX3_DL where it means avx512vnni, which all these CPUs have.
#undef BITSMITH_BEFORE_NAMESPACE
#undef BITSMITH_ATTR
#if HWY_TARGET == HWY_AVX3_DL
#define BITSMITH_BEFORE_NAMESPACE()                 \
  HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni") \
  static_assert(true, "")
#define BITSMITH_ATTR __attribute__((target(HWY_TARGET_STR ",avx512vnni")))
#else
#define BITSMITH_BEFORE_NAMESPACE() HWY_BEFORE_NAMESPACE()
#define BITSMITH_ATTR HWY_ATTR
#endif

// Goes on the lambdas passed to unroll(): without it their vectors would be passed in memory.
#undef BITSMITH_UNROLLED
#define BITSMITH_UNROLLED BITSMITH_ATTR __attribute__((always_inline))

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

template <class F, size_t... I>
HWY_INLINE void unroll_each(const F& f, std::index_sequence<I...> /* indices */) {
  (f(std::integral_constant<size_t, I>{}), ...);
}

// f(integral_constant<size_t, 0>), ..., f(integral_constant<size_t, kCount - 1>)
template <size_t kCount, class F>
HWY_INLINE void unroll(const F& f) {
  unroll_each(f, std::make_index_sequence<kCount>{});
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_TARGET_INL_H_
