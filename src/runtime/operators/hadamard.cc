// Randomised Hadamard rotation of runs of channels.
#include "runtime/kernels/hadamard.h"

#include "runtime/native_operator.h"

namespace bitsmith {
namespace {

class HadamardStep final : public Step {
 public:
  HadamardStep(Preparation& preparation, const Node& node)
      : rotation_(preparation.rotation(node.inputs[1])),
        inverse_(node.integer("inverse") == 1),
        channels_(preparation.channels(node.inputs[0])),
        x_(node.inputs[0]),
        y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    const float* x = batch.data(x_);
    float* y = batch.data(y_);
    constexpr int64_t kCost = 16;  // additions for each channel, about
    for_rows(batch, batch.rows(), kCost * channels_, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * channels_;
      const int64_t runs = (end - begin) * channels_ / rotation_->size();
      if (inverse_) {
        rotation_->apply_inverse(x + first, runs, y + first);
      } else {
        rotation_->apply(x + first, runs, y + first);
      }
    });
  }

 private:
  std::shared_ptr<const HadamardRotation> rotation_;  // shared by all steps of the same signs
  bool inverse_;
  int64_t channels_;
  ValueId x_;
  ValueId y_;
};

class Hadamard final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"hadamard",
                                "butterflies, then a small matrix if there is an odd factor", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<HadamardStep>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0}; }
};

const Registration<NativeOperator, Hadamard> registration;

}  // namespace
}  // namespace bitsmith
