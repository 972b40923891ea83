#include "runtime/sequence.h"

#include "core/error.h"
#include "tensor/shape.h"

namespace bitsmith {

void KvCache::reserve(int64_t positions) {
  const auto elements = static_cast<size_t>(2 * kv_heads_ * kChunk * head_dim_);
  while (static_cast<int64_t>(chunks_.size()) * kChunk < positions) {
    chunks_.push_back(std::make_unique_for_overwrite<uint16_t[]>(elements));
  }
}

void KvCache::shrink(int64_t positions) {
  const auto needed = static_cast<size_t>(ceil_div(positions, kChunk));
  if (needed < chunks_.size()) chunks_.resize(needed);
}

uint64_t KvCache::memory_bytes() const {
  return chunks_.size() * static_cast<uint64_t>(2 * kv_heads_ * kChunk * head_dim_) *
         sizeof(uint16_t);
}

void Sequence::truncate(int64_t length) {
  BITSMITH_ASSERT(length >= 0 && length <= length_);
  length_ = length;
  for (KvCache& cache : caches_) cache.shrink(length);
}

uint64_t Sequence::memory_bytes() const {
  uint64_t bytes = 0;
  for (const KvCache& cache : caches_) bytes += cache.memory_bytes();
  return bytes;
}

}  // namespace bitsmith
