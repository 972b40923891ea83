// Causal attention over a cache of keys and values in binary16.
#include "runtime/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "runtime/kernels/targets.h"
#include "tensor/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/attention.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/contrib/math/math-inl.h"
#include "runtime/kernels/target-inl.h"

#ifndef BITSMITH_ATTENTION_ONCE
#define BITSMITH_ATTENTION_ONCE
namespace bitsmith {

// Queries that are worked on together: they read the same kv head. Query i of a head is that of
// token i / group and query head i % group, group = heads / kv_heads.
struct QueryTile {
  static constexpr int64_t kQueries = 8;
  const KvCache* cache;
  const ops::AttentionOptions* options;
  const float* q;  // [tokens, heads * head_dim]
  float* out;
  int64_t tokens;
  int64_t kv_head;
  int64_t begin;  // queries [begin, end), at most kQueries
  int64_t end;
  // [blocks of positions][kQueries][16], where block 0 is the first that any query of the tile sees
  float* scores;

  int64_t group() const { return options->heads / options->kv_heads; }
  int64_t offset(int64_t query) const {
    const int64_t head = kv_head * group() + query % group();
    return (query / group() * options->heads + head) * options->head_dim;
  }
  // The query sees positions [first, last].
  int64_t last(int64_t query) const { return cache->length() - tokens + query / group(); }
  int64_t first(int64_t query) const {
    return options->window > 0 ? std::max<int64_t>(0, last(query) - options->window + 1) : 0;
  }
  int64_t first_block() const { return first(begin) / KvCache::kBlock; }
  int64_t blocks() const { return last(end - 1) / KvCache::kBlock + 1 - first_block(); }
};

}  // namespace bitsmith
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatsTag = hn::CappedTag<float, 16>;
using Floats = hn::Vec<FloatsTag>;
using HalvesTag = hn::Rebind<hwy::float16_t, FloatsTag>;
constexpr size_t kLanes = hn::MaxLanes(FloatsTag());
constexpr size_t kParts = 16 / kLanes;  // vectors per block of positions
constexpr size_t kQueries = QueryTile::kQueries;
constexpr size_t kTileScores = kQueries * 16;  // per block of positions

HWY_INLINE Floats load_halves(const uint16_t* p) {
  return hn::PromoteTo(FloatsTag(),
                       hn::LoadU(HalvesTag(), reinterpret_cast<const hwy::float16_t*>(p)));
}

// scores = q · k, for all positions of the tile's blocks. Missing queries repeat the last one.
HWY_NOINLINE void score_blocks(const QueryTile& tile) {
  const int64_t dim = tile.options->head_dim;
  const float* q[kQueries];
  for (size_t i = 0; i < kQueries; ++i) {
    q[i] = tile.q + tile.offset(std::min(tile.begin + static_cast<int64_t>(i), tile.end - 1));
  }
  const int64_t blocks = tile.blocks();
  const uint16_t* keys =
      tile.cache->keys(tile.kv_head) + tile.first_block() * dim * KvCache::kBlock;
  for (int64_t b = 0; b < blocks; ++b) {
    for (size_t part = 0; part < kParts; ++part) {
      const uint16_t* HWY_RESTRICT k = keys + b * dim * KvCache::kBlock + part * kLanes;
      Floats sums[kQueries];
      unroll<kQueries>([&](auto i) BITSMITH_UNROLLED { sums[i] = hn::Zero(FloatsTag()); });
      for (int64_t d = 0; d < dim; ++d) {
        const Floats key = load_halves(k + d * KvCache::kBlock);
        unroll<kQueries>([&](auto i) BITSMITH_UNROLLED {
          sums[i] = hn::MulAdd(hn::Set(FloatsTag(), q[i][d]), key, sums[i]);
        });
      }
      float* HWY_RESTRICT to = tile.scores + b * static_cast<int64_t>(kTileScores) + part * kLanes;
      unroll<kQueries>([&](auto i)
                           BITSMITH_UNROLLED { hn::StoreU(sums[i], FloatsTag(), to + i * 16); });
    }
  }
}

// Scores of one query to exp(score - largest), scaled and capped, 0 where it must not look; returns
// their sum. Every position has its lane and the lanes their order, so that the sum does not depend
// on the tile.
HWY_NOINLINE float exponentiate(const QueryTile& tile, int64_t query) {
  const FloatsTag df;
  const hn::RebindToSigned<FloatsTag> di;
  const int64_t begin = tile.first_block() * KvCache::kBlock;
  const auto before = hn::Set(di, static_cast<int32_t>(tile.first(query) - begin - 1));
  const auto after = hn::Set(di, static_cast<int32_t>(tile.last(query) - begin + 1));
  const auto visible = [&](int64_t position) HWY_ATTR {
    const auto at = hn::Iota(di, static_cast<int32_t>(position));
    return hn::RebindMask(df, hn::And(hn::Gt(at, before), hn::Lt(at, after)));
  };
  Floats scale = hn::Set(df, static_cast<float>(tile.options->scale));
  float* scores = tile.scores + (query - tile.begin) * 16;
  const auto each = [&](const auto& body) HWY_ATTR {
    const int64_t blocks = tile.blocks();
    for (int64_t b = 0; b < blocks; ++b) {
      for (size_t part = 0; part < kParts; ++part) {
        const auto lane = static_cast<int64_t>(part * kLanes);
        body(b * KvCache::kBlock + lane, part,
             scores + b * static_cast<int64_t>(kTileScores) + lane);
      }
    }
  };
  if (tile.options->soft_cap > 0) {
    const Floats cap = hn::Set(df, static_cast<float>(tile.options->soft_cap));
    const Floats part = hn::Div(scale, cap);
    each([&](int64_t, size_t, float* s) HWY_ATTR {
      hn::StoreU(hn::Mul(cap, hn::Tanh(df, hn::Mul(hn::LoadU(df, s), part))), df, s);
    });
    scale = hn::Set(df, 1.0F);
  }
  const Floats lowest = hn::Set(df, std::numeric_limits<float>::lowest());
  Floats largest = lowest;
  each([&](int64_t position, size_t, float* s) HWY_ATTR {
    const Floats score = hn::Mul(hn::LoadU(df, s), scale);
    largest = hn::Max(largest, hn::IfThenElse(visible(position), score, lowest));
  });
  largest = hn::MaxOfLanes(df, largest);
  alignas(64) float sums[16] = {};
  each([&](int64_t position, size_t part, float* s) HWY_ATTR {
    const Floats shifted = hn::MulSub(hn::LoadU(df, s), scale, largest);
    const Floats e =
        hn::IfThenElseZero(visible(position), hn::Exp(df, hn::Min(shifted, hn::Zero(df))));
    hn::StoreU(e, df, s);
    float* sum = sums + part * kLanes;
    hn::Store(hn::Add(hn::Load(df, sum), e), df, sum);
  });
  float total = 0;
  for (const float s : sums) total += s;
  return total;
}

// out = (weights · v) / sum, kVectors vectors of channels at a time.
constexpr size_t kVectors = HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON ? 2 : 1;

HWY_NOINLINE void sum_values(const QueryTile& tile, const float* HWY_RESTRICT sums) {
  const FloatsTag df;
  const int64_t dim = tile.options->head_dim;
  const int64_t stride = tile.cache->value_stride();
  const int64_t begin = tile.first_block() * KvCache::kBlock;
  const int64_t end = tile.last(tile.end - 1) + 1;
  constexpr auto kStep = static_cast<int64_t>(kVectors * kLanes);
  for (int64_t d = 0; d < dim; d += kStep) {
    const uint16_t* HWY_RESTRICT values = tile.cache->values(tile.kv_head) + d;
    Floats acc[kQueries][kVectors];
    unroll<kQueries>([&](auto i) BITSMITH_UNROLLED {
      unroll<kVectors>([&](auto c) BITSMITH_UNROLLED { acc[i][c] = hn::Zero(df); });
    });
    for (int64_t position = begin; position < end; ++position) {
      Floats v[kVectors];
      unroll<kVectors>([&](auto c) BITSMITH_UNROLLED {
        v[c] = load_halves(values + position * stride + static_cast<int64_t>(c * kLanes));
      });
      const int64_t at = position - begin;
      const float* HWY_RESTRICT weights =
          tile.scores + at / 16 * static_cast<int64_t>(kTileScores) + at % 16;
      unroll<kQueries>([&](auto i) BITSMITH_UNROLLED {
        const Floats weight = hn::Set(df, weights[i * 16]);
        unroll<kVectors>(
            [&](auto c) BITSMITH_UNROLLED { acc[i][c] = hn::MulAdd(weight, v[c], acc[i][c]); });
      });
    }
    alignas(64) float result[kQueries][kVectors * kLanes];
    unroll<kQueries>([&](auto i) BITSMITH_UNROLLED {
      const Floats inverse = hn::Set(df, 1.0F / sums[i]);
      unroll<kVectors>([&](auto c) BITSMITH_UNROLLED {
        hn::Store(hn::Mul(acc[i][c], inverse), df, result[i] + c * kLanes);
      });
    });
    for (int64_t query = tile.begin; query < tile.end; ++query) {
      std::copy_n(result[query - tile.begin], std::min(kStep, dim - d),
                  tile.out + tile.offset(query) + d);
    }
  }
}

void attend(const QueryTile& tile) {
  score_blocks(tile);
  float sums[kQueries];
  for (int64_t i = 0; i < QueryTile::kQueries; ++i) {
    // Missing queries have weights too: those of the last one, unused.
    sums[i] = tile.begin + i < tile.end ? exponentiate(tile, tile.begin + i) : 1.0F;
  }
  sum_values(tile, sums);
}

void to_halves(const float* HWY_RESTRICT from, int64_t count, uint16_t* HWY_RESTRICT to) {
  int64_t i = 0;
#if HWY_TARGET <= HWY_AVX2 || HWY_TARGET == HWY_NEON  // elsewhere Highway 1.0.3 truncates
  const HalvesTag dh;
  constexpr auto kStep = static_cast<int64_t>(kLanes);
  for (; i + kStep <= count; i += kStep) {
    hn::StoreU(hn::DemoteTo(dh, hn::LoadU(FloatsTag(), from + i)), dh,
               reinterpret_cast<hwy::float16_t*>(to + i));
  }
#endif
  for (; i < count; ++i) to[i] = float_to_f16(from[i]);
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(attend);
HWY_EXPORT(to_halves);

KvCache::KvCache(int64_t kv_heads, int64_t head_dim)
    : kv_heads_(kv_heads), head_dim_(head_dim), value_stride_(ceil_div(head_dim, 32) * 32) {
  BITSMITH_ASSERT(kv_heads > 0 && head_dim > 0);
}

void KvCache::reserve(int64_t positions) {
  if (positions <= capacity_) return;
  const int64_t capacity = ceil_div(positions, kBlock) * kBlock;
  const auto widen = [&](std::vector<uint16_t>& from, int64_t width) {
    std::vector<uint16_t> to(static_cast<size_t>(kv_heads_ * capacity * width));
    for (int64_t h = 0; h < kv_heads_; ++h) {
      std::copy_n(from.data() + h * capacity_ * width, capacity_ * width,
                  to.data() + h * capacity * width);
    }
    from = std::move(to);
  };
  widen(keys_, head_dim_);
  widen(values_, value_stride_);
  capacity_ = capacity;
}

void KvCache::truncate(int64_t length) {
  BITSMITH_ASSERT(length >= 0 && length <= length_);
  length_ = length;
}

void KvCache::append(const float* k, const float* v, int64_t tokens) {
  if (length_ + tokens > capacity_) reserve(std::max(length_ + tokens, capacity_ * 2));
  std::vector<uint16_t> key(static_cast<size_t>(head_dim_));
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t position = length_ + t;
    for (int64_t h = 0; h < kv_heads_; ++h) {
      const int64_t from = (t * kv_heads_ + h) * head_dim_;
      HWY_DYNAMIC_DISPATCH(to_halves)
      (v + from, head_dim_, values_.data() + (h * capacity_ + position) * value_stride_);
      HWY_DYNAMIC_DISPATCH(to_halves)(k + from, head_dim_, key.data());
      uint16_t* to = keys_.data() + h * capacity_ * head_dim_ +
                     position / kBlock * kBlock * head_dim_ + position % kBlock;
      for (int64_t d = 0; d < head_dim_; ++d) to[d * kBlock] = key[static_cast<size_t>(d)];
    }
  }
  length_ += tokens;
}

void attention(const float* q, int64_t tokens, const KvCache& cache,
               const ops::AttentionOptions& options, float* out, ThreadPool& pool) {
  BITSMITH_ASSERT(options.kv_heads == cache.kv_heads() && options.head_dim == cache.head_dim() &&
                  options.heads % options.kv_heads == 0 && tokens <= cache.length() &&
                  cache.length() < std::numeric_limits<int32_t>::max());
  if (tokens == 0) return;
  const int64_t queries = tokens * (options.heads / options.kv_heads);  // per kv head
  const int64_t tiles = ceil_div(queries, QueryTile::kQueries);
  const auto body = [&](int64_t i, int) {
    thread_local std::vector<float> scores;
    const int64_t begin = i % tiles * QueryTile::kQueries;
    const int64_t end = std::min(begin + QueryTile::kQueries, queries);
    QueryTile tile = {&cache, &options, q, out, tokens, i / tiles, begin, end, nullptr};
    const auto needed = static_cast<size_t>(tile.blocks() * QueryTile::kQueries * KvCache::kBlock);
    if (scores.size() < needed) scores.resize(needed);
    tile.scores = scores.data();
    HWY_DYNAMIC_DISPATCH(attend)(tile);
  };
  pool.run(options.kv_heads * tiles, body);
}

}  // namespace bitsmith
#endif
