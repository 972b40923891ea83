// Rows of a coded table, decoded when they are asked for.
#include "runtime/native_operator.h"

namespace bitsmith {
namespace {

class EmbeddingStep final : public Step {
 public:
  EmbeddingStep(Preparation& preparation, const Node& node)
      : table_(preparation.parameter(node.inputs[1])),
        channels_(preparation.channels(node.outputs[0])),
        y_(node.outputs[0]) {
    if (!preparation.is_token_input(node.inputs[0])) {
      fail(ErrorCode::kUnsupported, "executor: node '{}' (embedding) must read the graph's tokens",
           node.name);
    }
  }

  void run(Batch& batch) override {
    float* y = batch.data(y_);
    for_rows(batch, batch.rows(), 8 * channels_, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        table_.decode(batch.tokens[static_cast<size_t>(row)], 1, y + row * channels_);
      }
    });
  }

 private:
  CodedTensor table_;
  int64_t channels_;
  ValueId y_;
};

class Embedding final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"embedding", "decodes the rows that are asked for", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<EmbeddingStep>(preparation, node);
  }
};

const Registration<NativeOperator, Embedding> registration;

}  // namespace
}  // namespace bitsmith
