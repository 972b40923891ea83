#include "runtime/kernels/dyadic.h"

#include <cmath>

#include "core/error.h"

namespace bitsmith {
namespace {

void check_scale(double scale) {
  if (std::abs(scale) <= kMaxDyadicScale) return;
  fail(ErrorCode::kInvalidArgument, "integer kernels: a scale must be within {}, it is {}",
       kMaxDyadicScale, scale);
}

}  // namespace

Dyadic make_dyadic(double scale) {
  check_scale(scale);
  Dyadic d;
  if (scale == 0) return d;
  int exponent = 0;  // |scale| = fraction * 2^exponent, fraction in [1/2, 1)
  std::frexp(scale, &exponent);
  if (std::llround(std::ldexp(std::abs(scale), 31 - exponent)) == int64_t{1} << 31) ++exponent;
  d.left = std::max(0, exponent + 2);
  d.shift = std::min(30, d.left - 1 - exponent);
  d.multiplier = static_cast<int32_t>(std::llround(std::ldexp(scale, 32 + d.shift - d.left)));
  return d;
}

DyadicPair make_dyadic_pair(double a_scale, double b_scale) {
  check_scale(a_scale);
  check_scale(b_scale);
  int exponent = 0;
  std::frexp(std::max(std::abs(a_scale), std::abs(b_scale)), &exponent);
  DyadicPair pair;
  pair.shift = std::clamp(21 - exponent, 1, 30);
  pair.a_multiplier = static_cast<int32_t>(std::llround(std::ldexp(a_scale, pair.shift)));
  pair.b_multiplier = static_cast<int32_t>(std::llround(std::ldexp(b_scale, pair.shift)));
  return pair;
}

}  // namespace bitsmith
