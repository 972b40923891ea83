// Causal attention over a cache of keys and values in binary16.
#pragma once

#include <cstdint>
#include <vector>

#include "core/thread_pool.h"
#include "graph/operators.h"

namespace bitsmith {

// The keys and values of one attention layer and one sequence.
//
// For each kv head, so that scores and sums are made without adding across lanes:
//     keys    [position / 16][head_dim][position % 16]    16 scores at a time, a lane per position
//     values  [position][head_dim, rounded up to 32]      a lane per channel; the padding is 0
// Rounding to binary16 is to nearest, ties to even; beyond +-65504 it gives infinity.
class KvCache {
 public:
  static constexpr int64_t kBlock = 16;

  KvCache(int64_t kv_heads, int64_t head_dim);

  // Adds positions [length(), length() + tokens).  k, v [tokens, kv_heads * head_dim]
  void append(const float* k, const float* v, int64_t tokens);

  // Makes room for this many positions, so that append() does not have to move what is there.
  void reserve(int64_t positions);

  // Forgets the positions from `length` on; nothing is freed.
  void truncate(int64_t length);

  int64_t length() const { return length_; }
  int64_t kv_heads() const { return kv_heads_; }
  int64_t head_dim() const { return head_dim_; }
  int64_t value_stride() const { return value_stride_; }
  int64_t bytes() const { return static_cast<int64_t>((keys_.size() + values_.size()) * 2); }

  const uint16_t* keys(int64_t head) const { return keys_.data() + head * capacity_ * head_dim_; }
  const uint16_t* values(int64_t head) const {
    return values_.data() + head * capacity_ * value_stride_;
  }

 private:
  int64_t kv_heads_;
  int64_t head_dim_;
  int64_t value_stride_;
  int64_t length_ = 0;
  int64_t capacity_ = 0;  // positions, a multiple of kBlock
  std::vector<uint16_t> keys_;
  std::vector<uint16_t> values_;
};

// softmax(soft_cap(q kᵀ * scale)) v for the last `tokens` positions of the cache, which holds their
// own keys and values already; sums and softmax in float32.
//   q, out [tokens, heads * head_dim]
// The result for a token is the same, bit for bit, however many tokens are passed at once and for
// any number of threads.
void attention(const float* q, int64_t tokens, const KvCache& cache,
               const ops::AttentionOptions& options, float* out, ThreadPool& pool);

}  // namespace bitsmith
