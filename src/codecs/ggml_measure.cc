#include "codecs/ggml_measure.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codecs/ggml_measure.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitsmith::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::CappedTag<float, kLanes>;
using Vector = hn::Vec<Tag>;

// LevelGrid::nearest() in every lane, its level only.
class NearestUniform {
 public:
  NearestUniform(const LevelGrid& grid, Vector scale)
      : zero_(hn::Set(Tag(), grid.zero)), largest_(hn::Set(Tag(), grid.max_index)) {
    const auto used = hn::Ne(scale, hn::Zero(Tag()));
    inverse_ = hn::IfThenElseZero(used, hn::Div(hn::Set(Tag(), 1.0F), scale));
  }
  Vector operator()(Vector target) const {
    const Tag d;
    const hn::RebindToSigned<Tag> di;
    auto x = hn::Add(hn::Mul(target, inverse_), zero_);
    x = hn::Min(hn::Max(x, hn::Zero(d)), largest_);
    const auto index = hn::ConvertTo(d, hn::ConvertTo(di, hn::Add(x, hn::Set(d, 0.5F))));
    return hn::Sub(index, zero_);
  }

 private:
  Vector zero_, largest_, inverse_;
};

class NearestInTable {
 public:
  NearestInTable(const LevelGrid& grid, Vector scale)
      : grid_(grid), magnitude_(hn::Abs(scale)), negative_(hn::Lt(scale, hn::Zero(Tag()))) {}
  Vector operator()(Vector target) const {
    const Tag d;
    const auto x = hn::IfThenElse(negative_, hn::Neg(target), target);
    auto level = hn::Set(d, grid_.levels[0]);
    for (size_t i = 0; i + 1 < static_cast<size_t>(grid_.count); ++i) {
      const auto above = hn::Gt(x, hn::Mul(magnitude_, hn::Set(d, grid_.middles[i])));
      level = hn::IfThenElse(above, hn::Set(d, grid_.levels[i + 1]), level);
    }
    return level;
  }

 private:
  const LevelGrid& grid_;
  Vector magnitude_;
  hn::Mask<Tag> negative_;
};

template <class Nearest>
void add_error(const LevelGrid& grid, const SubBlock& sub, const Lanes& scales,
               const Lanes& offsets, Lanes& errors) {
  const Tag d;
  for (size_t r = 0; r < kLanes; r += hn::Lanes(d)) {
    const auto scale = hn::LoadU(d, scales.data() + r);
    const auto offset = hn::LoadU(d, offsets.data() + r);
    const Nearest nearest(grid, scale);
    auto error = hn::Zero(d);
    for (int64_t c = 0; c < sub.cols; ++c) {
      const auto target = hn::Sub(hn::LoadU(d, sub.w[c].data() + r), offset);
      const auto difference = hn::NegMulAdd(scale, nearest(target), target);
      const auto counted = sub.importance != nullptr
                               ? hn::Mul(difference, hn::Set(d, sub.importance[c]))
                               : difference;
      error = hn::MulAdd(counted, difference, error);
    }
    hn::StoreU(hn::Add(error, hn::LoadU(d, errors.data() + r)), d, errors.data() + r);
  }
}

template <class Nearest>
void level_sums(const LevelGrid& grid, const SubBlock& sub, const Lanes& scales,
                const Lanes& offsets, LevelSums& sums) {
  const Tag d;
  for (size_t r = 0; r < kLanes; r += hn::Lanes(d)) {
    const auto scale = hn::LoadU(d, scales.data() + r);
    const auto offset = hn::LoadU(d, offsets.data() + r);
    const Nearest nearest(grid, scale);
    auto one = hn::Zero(d);
    auto l = one;
    auto ll = one;
    auto w = one;
    auto lw = one;
    auto error = one;
    for (int64_t c = 0; c < sub.cols; ++c) {
      const auto weight = hn::LoadU(d, sub.w[c].data() + r);
      const auto target = hn::Sub(weight, offset);
      const auto level = nearest(target);
      const auto difference = hn::NegMulAdd(scale, level, target);
      const auto counts = hn::Set(d, sub.importance != nullptr ? sub.importance[c] : 1.0F);
      const auto counted = hn::Mul(level, counts);
      one = hn::Add(one, counts);
      l = hn::Add(l, counted);
      ll = hn::MulAdd(counted, level, ll);
      w = hn::MulAdd(counts, weight, w);
      lw = hn::MulAdd(counted, weight, lw);
      error = hn::MulAdd(hn::Mul(difference, counts), difference, error);
    }
    hn::StoreU(one, d, sums.one.data() + r);
    hn::StoreU(l, d, sums.level.data() + r);
    hn::StoreU(ll, d, sums.level_level.data() + r);
    hn::StoreU(w, d, sums.weight.data() + r);
    hn::StoreU(lw, d, sums.level_weight.data() + r);
    hn::StoreU(error, d, sums.error.data() + r);
  }
}

void add_ggml_error_target(const LevelGrid& grid, const SubBlock& sub, const Lanes& scale,
                           const Lanes& offset, Lanes& error) {
  grid.uniform ? add_error<NearestUniform>(grid, sub, scale, offset, error)
               : add_error<NearestInTable>(grid, sub, scale, offset, error);
}

void level_sums_target(const LevelGrid& grid, const SubBlock& sub, const Lanes& scale,
                       const Lanes& offset, LevelSums& sums) {
  grid.uniform ? level_sums<NearestUniform>(grid, sub, scale, offset, sums)
               : level_sums<NearestInTable>(grid, sub, scale, offset, sums);
}

}  // namespace bitsmith::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(add_ggml_error_target);
HWY_EXPORT(level_sums_target);

void add_ggml_error(const LevelGrid& grid, const SubBlock& sub, const Lanes& scale,
                    const Lanes& offset, Lanes& error) {
  HWY_DYNAMIC_DISPATCH(add_ggml_error_target)(grid, sub, scale, offset, error);
}

LevelSums ggml_level_sums(const LevelGrid& grid, const SubBlock& sub, const Lanes& scale,
                          const Lanes& offset) {
  LevelSums sums;
  HWY_DYNAMIC_DISPATCH(level_sums_target)(grid, sub, scale, offset, sums);
  return sums;
}

}  // namespace bitsmith
#endif  // HWY_ONCE
