// Causal attention with grouped heads over each sequence's cache.
#include "runtime/kernels/attention.h"

#include "runtime/native_operator.h"

namespace bitsmith {
namespace {

class AttentionStep final : public Step {
 public:
  AttentionStep(Preparation& preparation, const Node& node)
      : options_(ops::attention_options(node)),
        q_(node.inputs[0]),
        k_(node.inputs[1]),
        v_(node.inputs[2]),
        y_(node.outputs[0]),
        cache_(preparation.add_cache({options_.kv_heads, options_.head_dim})) {}

  void run(Batch& batch) override {
    const int64_t q_channels = options_.heads * options_.head_dim;
    const int64_t kv_channels = options_.kv_heads * options_.head_dim;
    for (const BatchSegment& segment : batch.segments) {
      KvCache& cache = batch.cache(segment, cache_);
      cache.append(batch.data(k_) + segment.begin * kv_channels,
                   batch.data(v_) + segment.begin * kv_channels, segment.count);
      attention(batch.data(q_) + segment.begin * q_channels, segment.count, cache, options_,
                batch.data(y_) + segment.begin * q_channels, batch.pool);
    }
  }

 private:
  ops::AttentionOptions options_;
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
