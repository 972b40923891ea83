// Root-mean-square normalisation over runs of channels.
#include "runtime/kernels/elementwise.h"
#include "runtime/native_operator.h"

namespace bitsmith {
namespace {

class RmsNormStep final : public Step {
 public:
  RmsNormStep(Preparation& preparation, const Node& node)
      : weight_(preparation.vector(node.inputs[1])),
        epsilon_(node.number("epsilon")),
        channels_(preparation.channels(node.inputs[0])),
        x_(node.inputs[0]),
        y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    const float* x = batch.data(x_);
    float* y = batch.data(y_);
    const auto run = static_cast<int64_t>(weight_.size());
    for_rows(batch, batch.rows(), channels_, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * channels_;
      rms_norm(x + first, weight_.data(), (end - begin) * channels_ / run, run, epsilon_,
               y + first);
    });
  }

  uint64_t memory_bytes() const override { return weight_.size() * sizeof(float); }

 private:
  std::vector<float> weight_;
  double epsilon_;
  int64_t channels_;
  ValueId x_;
  ValueId y_;
};

class RmsNorm final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"rms_norm", "sum of squares, then one scaled pass", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<RmsNormStep>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0}; }
};

const Registration<NativeOperator, RmsNorm> registration;

}  // namespace
}  // namespace bitsmith
