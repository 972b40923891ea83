#include "codecs/vector_search.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codecs/vector_search.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitsmith::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Any number of entries: the rest of a vector is done one by one, with the same operations.
void vector_scores(const float* columns, int64_t dim, int64_t entries, const float* wx,
                   const float* norms, float* scores) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const auto some = [&](auto tag, int64_t k) {
    auto sum = hn::LoadU(tag, norms + k);
    for (int64_t j = 0; j < dim; ++j) {
      const auto factor = hn::Set(tag, -2.0F * wx[j]);
      sum = hn::MulAdd(factor, hn::LoadU(tag, columns + j * entries + k), sum);
    }
    hn::StoreU(sum, tag, scores + k);
  };
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t k = 0;
  for (; k + lanes <= entries; k += lanes) some(d, k);
  for (; k < entries; ++k) some(one, k);
}

// The first of the smallest numbers.
int64_t index_of_smallest(const float* scores, int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t k = 0;
  float least = scores[0];
  if (count >= lanes) {
    auto smallest = hn::LoadU(d, scores);
    for (k = lanes; k + lanes <= count; k += lanes) {
      smallest = hn::Min(smallest, hn::LoadU(d, scores + k));
    }
    least = hn::GetLane(hn::MinOfLanes(d, smallest));
  }
  for (; k < count; ++k) least = scores[k] < least ? scores[k] : least;
  for (int64_t i = 0; i < count; ++i) {
    if (scores[i] == least) return i;
  }
  return 0;
}

}  // namespace bitsmith::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(vector_scores);
HWY_EXPORT(index_of_smallest);

VectorTable::VectorTable(int64_t dimension, int64_t count, const float* rows)
    : dim(dimension), entries(count), columns(static_cast<size_t>(dimension * count)) {
  for (int64_t k = 0; k < entries; ++k) {
    for (int64_t j = 0; j < dim; ++j) {
      columns[static_cast<size_t>(j * entries + k)] = rows[k * dim + j];
    }
  }
}

void VectorTable::norms(const float* weights, float* out) const {
  for (int64_t k = 0; k < entries; ++k) out[k] = 0;
  for (int64_t j = 0; j < dim; ++j) {
    const float weight = weights != nullptr ? weights[j] : 1.0F;
    const float* column = columns.data() + j * entries;
    for (int64_t k = 0; k < entries; ++k) out[k] += weight * column[k] * column[k];
  }
}

void VectorTable::scores(const float* wx, const float* norms_of_entries, float* out) const {
  HWY_DYNAMIC_DISPATCH(vector_scores)(columns.data(), dim, entries, wx, norms_of_entries, out);
}

int64_t smallest_score(const std::vector<float>& scores) {
  return HWY_DYNAMIC_DISPATCH(index_of_smallest)(scores.data(),
                                                 static_cast<int64_t>(scores.size()));
}

}  // namespace bitsmith
#endif  // HWY_ONCE
