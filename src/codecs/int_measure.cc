#include "codecs/int_measure.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codecs/int_measure.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitsmith::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// As nearest_int_code() in every lane.
void group_error(const IntParameters& parameters, float max_code, const Lanes* w, int64_t cols,
                 const float* importance, Lanes& errors) {
  const hn::CappedTag<float, kLanes> d;
  const hn::RebindToSigned<decltype(d)> di;
  const auto none = hn::Zero(d);
  const auto half = hn::Set(d, 0.5F);
  const auto largest = hn::Set(d, max_code);
  for (size_t r = 0; r < kLanes; r += hn::Lanes(d)) {
    const auto scale = hn::LoadU(d, parameters.scale.data() + r);
    const auto zero = hn::LoadU(d, parameters.zero.data() + r);
    const auto used = hn::Ne(scale, none);
    const auto inverse = hn::IfThenElseZero(used, hn::Div(hn::Set(d, 1.0F), scale));
    auto error = none;
    for (int64_t c = 0; c < cols; ++c) {
      const auto weight = hn::LoadU(d, w[c].data() + r);
      auto x = hn::Add(hn::Mul(weight, inverse), zero);
      x = hn::Min(hn::Max(x, none), largest);
      const auto code = hn::ConvertTo(d, hn::ConvertTo(di, hn::Add(x, half)));
      const auto difference = hn::NegMulAdd(scale, hn::Sub(code, zero), weight);
      const auto counted =
          importance != nullptr ? hn::Mul(difference, hn::Set(d, importance[c])) : difference;
      error = hn::MulAdd(counted, difference, error);
    }
    hn::StoreU(error, d, errors.data() + r);
  }
}

}  // namespace bitsmith::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(group_error);

Lanes int_group_error(const IntParameters& parameters, float max_code, const Lanes* w, int64_t cols,
                      const float* importance) {
  Lanes errors;
  HWY_DYNAMIC_DISPATCH(group_error)(parameters, max_code, w, cols, importance, errors);
  return errors;
}

}  // namespace bitsmith
#endif  // HWY_ONCE
