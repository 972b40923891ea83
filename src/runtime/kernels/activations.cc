// Activations to int8, group by group.
#include <algorithm>

#include "runtime/kernels/linear.h"
#include "runtime/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/activations.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

float largest_magnitude(const float* HWY_RESTRICT x, int64_t count) {
  const hn::CappedTag<float, 16> df;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  auto largest = hn::Zero(df);
  for (int64_t i = 0; i < count; i += lanes) {
    const auto mask = hn::FirstN(df, static_cast<size_t>(std::min(lanes, count - i)));
    const auto part = i + lanes <= count ? hn::LoadU(df, x + i) : hn::MaskedLoad(mask, df, x + i);
    largest = hn::Max(largest, hn::Abs(part));
  }
  return hn::GetLane(hn::MaxOfLanes(df, largest));
}

// One group: `count` values of x to `group_cols` codes, absmax standing for `levels`. The smallest
// groups that are not all zero have an absolute maximum of 2^-120; below that the reciprocal would
// overflow.
void quantize_group(const float* HWY_RESTRICT x, int64_t count, int64_t group_cols, float absmax,
                    float levels, int8_t* HWY_RESTRICT codes, float* scale, int32_t* neg_sum) {
  const hn::CappedTag<float, 16> df;
  const hn::Rebind<int32_t, decltype(df)> di;
  const hn::Rebind<int8_t, decltype(df)> d8;
  const auto lanes = static_cast<int64_t>(hn::Lanes(df));
  const auto load = [&](int64_t i) HWY_ATTR {
    if (i + lanes <= count) return hn::LoadU(df, x + i);
    const auto mask = hn::FirstN(df, static_cast<size_t>(std::max<int64_t>(0, count - i)));
    return hn::MaskedLoad(mask, df, x + i);
  };
  if (!(absmax >= 0x1p-120F)) {
    std::fill_n(codes, group_cols, int8_t{0});
    *scale = 0;
    *neg_sum = 0;
    return;
  }
  const auto inverse = hn::Set(df, levels / absmax);
  auto sum = hn::Zero(di);
  for (int64_t i = 0; i < group_cols; i += lanes) {
    const auto code = hn::NearestInt(hn::Mul(load(i), inverse));
    sum = hn::Add(sum, code);
    const auto bytes = hn::DemoteTo(d8, code);
    if (i + lanes <= group_cols) {
      hn::StoreU(bytes, d8, codes + i);
    } else {
      HWY_ALIGN int8_t rest[16];
      hn::StoreU(bytes, d8, rest);
      std::copy_n(rest, group_cols - i, codes + i);
    }
  }
  *scale = absmax / levels;
  *neg_sum = -hn::GetLane(hn::SumOfLanes(di, sum));
}

// One block of n tokens; x points at its first token, `form` at the whole.
void quantize_block(const float* HWY_RESTRICT x, int64_t first, int64_t n, int64_t cols,
                    int row_levels, Int8Activations& form) {
  const float levels = row_levels > 0 ? static_cast<float>(row_levels) : 127.0F;
  for (int64_t t = 0; t < n; ++t) {
    const float of_row = row_levels > 0 ? largest_magnitude(x + t * cols, cols) : 0;
    for (int64_t g = 0; g < form.groups; ++g) {
      const int64_t at = first * form.groups + g * n + t;
      const int64_t col = g * form.group_cols;
      const int64_t count = std::min(form.group_cols, cols - col);
      const float* const group = x + t * cols + col;
      const float absmax = row_levels > 0 ? of_row : largest_magnitude(group, count);
      quantize_group(group, count, form.group_cols, absmax, levels,
                     form.codes.data() + at * form.group_cols, form.scales.data() + at,
                     form.neg_sums.data() + at);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(quantize_block);

void Activations::reset(const float* data, int64_t tokens, int64_t cols, int row_levels) {
  BITSMITH_ASSERT(row_levels >= 0 && row_levels <= 127);
  row_levels_ = row_levels;
  data_ = data;
  tokens_ = tokens;
  cols_ = cols;
  for (const auto& form : forms_) form->valid = false;
}

const Int8Activations& Activations::int8(int64_t group_cols, ThreadPool& pool) {
  BITSMITH_ASSERT(group_cols >= 4 && group_cols <= 64 && group_cols % 4 == 0);
  auto it =
      std::ranges::find_if(forms_, [&](const auto& f) { return f->form.group_cols == group_cols; });
  if (it == forms_.end()) {
    forms_.push_back(std::make_unique<Form>());
    forms_.back()->form.group_cols = group_cols;
    it = forms_.end() - 1;
  }
  Int8Activations& form = (*it)->form;
  if ((*it)->valid) return form;

  form.groups = ceil_div(cols_, group_cols);
  const auto count = static_cast<size_t>(tokens_ * form.groups);
  form.codes.resize(count * static_cast<size_t>(group_cols));
  form.scales.resize(count);
  form.neg_sums.resize(count);
  const auto quantize = [&](int64_t block, int) {
    const int64_t first = block * Int8Activations::kBlock;
    const int64_t n = std::min(Int8Activations::kBlock, tokens_ - first);
    HWY_DYNAMIC_DISPATCH(quantize_block)(data_ + first * cols_, first, n, cols_, row_levels_, form);
  };
  pool.run(ceil_div(tokens_, Int8Activations::kBlock), quantize);
  (*it)->valid = true;
  return form;
}

}  // namespace bitsmith
#endif
