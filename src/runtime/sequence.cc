#include "runtime/sequence.h"

#include "core/error.h"

namespace bitsmith {

void Sequence::reserve(int64_t positions) {
  for (KvCache& cache : caches_) cache.reserve(positions);
}

void Sequence::truncate(int64_t length) {
  BITSMITH_ASSERT(length >= 0 && length <= length_);
  length_ = length;
}

uint64_t Sequence::memory_bytes() const {
  uint64_t bytes = 0;
  for (const KvCache& cache : caches_) bytes += static_cast<uint64_t>(cache.bytes());
  return bytes;
}

}  // namespace bitsmith
