// Sum of two values, element by element.
#include "runtime/kernels/elementwise.h"
#include "runtime/native_operator.h"

namespace bitsmith {
namespace {

class AddStep final : public Step {
 public:
  AddStep(Preparation& preparation, const Node& node)
      : channels_(preparation.equal_channels(node)),
        a_(node.inputs[0]),
        b_(node.inputs[1]),
        y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    const float* a = batch.data(a_);
    const float* b = batch.data(b_);
    float* y = batch.data(y_);
    for_rows(batch, batch.rows(), channels_, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * channels_;
      add(a + first, b + first, (end - begin) * channels_, y + first);
    });
  }

 private:
  int64_t channels_;
  ValueId a_;
  ValueId b_;
  ValueId y_;
};

class Add final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"add", "element by element", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<AddStep>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0, 1}; }
};

const Registration<NativeOperator, Add> registration;

}  // namespace
}  // namespace bitsmith
