// What a model remembers of one text: the keys and values of its attention layers.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/kernels/attention.h"

namespace bitsmith {

struct KvShape {
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
};

// One text in progress. Made by Executor::make_sequence(), and usable with that executor only.
class Sequence {
 public:
  Sequence() = default;
  explicit Sequence(const std::vector<KvShape>& layers) {
    for (const KvShape& shape : layers) caches_.emplace_back(shape.kv_heads, shape.head_dim);
  }

  // Positions that the model has read; the next token's position.
  int64_t length() const { return length_; }

  // Makes room, so that the caches need not grow while the text does.
  void reserve(int64_t positions);

  // Forgets all positions from `length` on, which is at most length(). Keeps the memory.
  void truncate(int64_t length);
  void reset() { truncate(0); }

  uint64_t memory_bytes() const;

 private:
  friend class Executor;
  friend class Batch;
  std::vector<KvCache> caches_;  // in the order of the graph's attention nodes
  int64_t length_ = 0;
};

}  // namespace bitsmith
