// What a model remembers of a text: the keys and values of its attention layers.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace bitsmith {

struct KvShape {
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
};

// One attention layer's keys and values, float16, in chunks of kChunk positions:
//     keys, values  [chunk][kv_head][kChunk][head_dim]
// so that a head reads runs of kChunk * head_dim elements, and a longer text moves nothing.
class KvCache {
 public:
  static constexpr int64_t kChunk = 128;

  explicit KvCache(const KvShape& shape) : kv_heads_(shape.kv_heads), head_dim_(shape.head_dim) {}

  int64_t kv_heads() const { return kv_heads_; }
  int64_t head_dim() const { return head_dim_; }

  // Makes room for positions [0, positions). Nothing that is there moves.
  void reserve(int64_t positions);
  // Gives chunks beyond `positions` back.
  void shrink(int64_t positions);

  // The kChunk * head_dim elements of one head in one chunk.
  uint16_t* keys(int64_t chunk, int64_t kv_head) const {
    return chunks_[static_cast<size_t>(chunk)].get() + kv_head * kChunk * head_dim_;
  }
  uint16_t* values(int64_t chunk, int64_t kv_head) const {
    return keys(chunk, kv_head) + kv_heads_ * kChunk * head_dim_;
  }

  uint64_t memory_bytes() const;

 private:
  int64_t kv_heads_;
  int64_t head_dim_;
  std::vector<std::unique_ptr<uint16_t[]>> chunks_;
};

// One text in progress. Made by Executor::make_sequence(), and usable with that executor only.
class Sequence {
 public:
  Sequence() = default;
  explicit Sequence(const std::vector<KvShape>& layers) {
    for (const KvShape& shape : layers) caches_.emplace_back(shape);
  }

  // Positions that the model has read; the next token's position.
  int64_t length() const { return length_; }

  // Forgets all positions from `length` on, which is at most length().
  void truncate(int64_t length);
  // Forgets everything but keeps the memory.
  void reset() { length_ = 0; }

  uint64_t memory_bytes() const;

 private:
  friend class Executor;
  friend class Batch;
  std::vector<KvCache> caches_;  // in the order of the graph's attention nodes
  int64_t length_ = 0;
};

}  // namespace bitsmith
