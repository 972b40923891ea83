// Matrix product with a coded weight, by the kernel of its codec.
#include "runtime/kernels/elementwise.h"
#include "runtime/native_operator.h"

namespace bitsmith {
namespace {

class LinearStep final : public Step {
 public:
  LinearStep(Preparation& preparation, const Node& node)
      : kernel_(preparation.kernel(node.inputs[1])),
        cols_(preparation.channels(node.inputs[0])),
        rows_(preparation.channels(node.outputs[0])),
        x_(node.inputs[0]),
        y_(node.outputs[0]) {
    if (node.inputs[2] != kNoValue) bias_ = preparation.vector(node.inputs[2]);
  }

  void run(Batch& batch) override {
    float* y = batch.data(y_);
    kernel_->multiply(batch.activations(x_, cols_), y, rows_, batch.pool);
    if (bias_.empty()) return;
    for_rows(batch, batch.rows(), rows_, [&](int64_t begin, int64_t end) {
      add_bias(bias_.data(), end - begin, rows_, rows_, y + begin * rows_);
    });
  }

  std::string_view kernel_name() const override { return kernel_->name(); }
  uint64_t memory_bytes() const override {
    return bias_.size() * sizeof(float) + kernel_->rearranged_bytes();
  }
  void release() const override { kernel_->release(); }

 private:
  std::shared_ptr<const LinearKernel> kernel_;
  std::vector<float> bias_;
  int64_t cols_;
  int64_t rows_;
  ValueId x_;
  ValueId y_;
};

class Linear final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"linear", "matrix product by the kernel of the weight's codec", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<LinearStep>(preparation, node);
  }
};

const Registration<NativeOperator, Linear> registration;

}  // namespace
}  // namespace bitsmith
