// x * sigmoid(x).
#include "runtime/kernels/elementwise.h"
#include "runtime/native_operator.h"

namespace bitsmith {
namespace {

class SiluStep final : public Step {
 public:
  SiluStep(Preparation& preparation, const Node& node)
      : channels_(preparation.channels(node.outputs[0])), x_(node.inputs[0]), y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    const float* x = batch.data(x_);
    float* y = batch.data(y_);
    for_rows(batch, batch.rows(), 8 * channels_, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * channels_;
      silu(x + first, (end - begin) * channels_, y + first);
    });
  }

 private:
  int64_t channels_;
  ValueId x_;
  ValueId y_;
};

class Silu final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"silu", "element by element", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<SiluStep>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0}; }
};

const Registration<NativeOperator, Silu> registration;

}  // namespace
}  // namespace bitsmith
