// Causal attention with grouped heads over each sequence's cache.
#include <cmath>

#include "runtime/native_operator.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

class AttentionStep final : public Step {
 public:
  AttentionStep(Preparation& preparation, const Node& node)
      : heads_(node.integer("heads")),
        kv_heads_(node.integer("kv_heads")),
        head_dim_(node.integer("head_dim")),
        window_(node.integer("window")),
        scale_(static_cast<float>(node.number("scale"))),
        q_(node.inputs[0]),
        k_(node.inputs[1]),
        v_(node.inputs[2]),
        y_(node.outputs[0]),
        cache_(preparation.add_cache({kv_heads_, head_dim_})) {}

  void run(Batch& batch) override {
    for (const BatchSegment& segment : batch.segments) {
      KvCache& cache = batch.cache(segment, cache_);
      append(batch, segment, cache);
      const int64_t group = heads_ / kv_heads_;
      batch.pool.run(heads_ * segment.count, [&](int64_t i, int) {
        const int64_t h = i / segment.count;
        const int64_t t = i % segment.count;
        const int64_t position = segment.position + t;
        const int64_t first = window_ > 0 ? std::max<int64_t>(0, position - window_ + 1) : 0;
        const float* q = batch.data(q_) + ((segment.begin + t) * heads_ + h) * head_dim_;
        float* y = batch.data(y_) + ((segment.begin + t) * heads_ + h) * head_dim_;
        std::vector<float> p(static_cast<size_t>(position + 1 - first));
        float max = -INFINITY;
        for (int64_t s = first; s <= position; ++s) {
          const uint16_t* k =
              cache.keys(s / KvCache::kChunk, h / group) + s % KvCache::kChunk * head_dim_;
          float dot = 0;
          for (int64_t c = 0; c < head_dim_; ++c) dot += q[c] * f16_to_float(k[c]);
          p[static_cast<size_t>(s - first)] = dot * scale_;
          max = std::max(max, dot * scale_);
        }
        float sum = 0;
        for (float& x : p) sum += x = std::exp(x - max);
        std::fill_n(y, head_dim_, 0.0f);
        for (int64_t s = first; s <= position; ++s) {
          const uint16_t* v =
              cache.values(s / KvCache::kChunk, h / group) + s % KvCache::kChunk * head_dim_;
          const float w = p[static_cast<size_t>(s - first)] / sum;
          for (int64_t c = 0; c < head_dim_; ++c) y[c] += w * f16_to_float(v[c]);
        }
      });
    }
  }

 private:
  void append(const Batch& batch, const BatchSegment& segment, KvCache& cache) const {
    for (int64_t t = 0; t < segment.count; ++t) {
      const int64_t position = segment.position + t;
      for (int64_t h = 0; h < kv_heads_; ++h) {
        const int64_t at = position % KvCache::kChunk * head_dim_;
        uint16_t* k = cache.keys(position / KvCache::kChunk, h) + at;
        uint16_t* v = cache.values(position / KvCache::kChunk, h) + at;
        const int64_t row = ((segment.begin + t) * kv_heads_ + h) * head_dim_;
        for (int64_t c = 0; c < head_dim_; ++c) {
          k[c] = float_to_f16(batch.data(k_)[row + c]);
          v[c] = float_to_f16(batch.data(v_)[row + c]);
        }
      }
    }
  }

  int64_t heads_;
  int64_t kv_heads_;
  int64_t head_dim_;
  int64_t window_;
  float scale_;
  ValueId q_;
  ValueId k_;
  ValueId v_;
  ValueId y_;
  size_t cache_;
};

class Attention final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"attention", "over a float16 cache of keys and values", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<AttentionStep>(preparation, node);
  }
};

const Registration<NativeOperator, Attention> registration;

}  // namespace
}  // namespace bitsmith
