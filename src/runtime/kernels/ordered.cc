// Linear layers with columns in an order of their own: their input is put into it, for the kernel
// of the inner codec.
#include <algorithm>

#include "codecs/column_order.h"
#include "codecs/inner_scheme.h"
#include "runtime/kernels/linear.h"

namespace bitsmith {
namespace {

class OrderedKernel final : public LinearKernel {
 public:
  OrderedKernel(std::unique_ptr<LinearKernel> inner, std::vector<uint32_t> order)
      : inner_(std::move(inner)),
        order_(std::move(order)),
        name_(std::string(inner_->name()) + ", columns in order") {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    const auto cols = static_cast<int64_t>(order_.size());
    BITSMITH_ASSERT(x.cols() == cols);
    std::vector<float> moved(static_cast<size_t>(x.tokens() * cols));
    for (int64_t t = 0; t < x.tokens(); ++t) {
      const float* from = x.data() + t * cols;
      std::ranges::transform(order_, moved.begin() + t * cols, [&](uint32_t c) { return from[c]; });
    }
    Activations ordered;
    ordered.reset(moved.data(), x.tokens(), cols, x.row_levels());
    inner_->multiply(ordered, y, y_stride, pool);
  }

  std::string_view name() const override { return name_; }
  uint64_t decoded_bytes() const override { return inner_->decoded_bytes(); }
  void keep_decoded(ThreadPool& pool) override { inner_->keep_decoded(pool); }

 private:
  std::unique_ptr<LinearKernel> inner_;
  std::vector<uint32_t> order_;
  std::string name_;
};

class OrderedKernels final : public LinearKernelFactory {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo = {"ordered", "the inner codec's kernel on columns in order", ""};
    return kInfo;
  }

  std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const override {
    const int64_t cols = weights.matrix().cols;
    std::vector<uint32_t> order = column_order(cols, weights.bytes);
    std::vector<uint32_t> sorted = order;
    std::ranges::sort(sorted);
    for (size_t i = 0; i < sorted.size(); ++i) {
      if (sorted[i] != i) return nullptr;  // a hostile one
    }
    const Scheme inner = parse_inner_scheme("ordered", weights.scheme.options.text("inner"));
    return std::make_unique<OrderedKernel>(make_linear_kernel({weights.name, weights.shape, inner,
                                                               ordered_bytes(cols, weights.bytes)}),
                                           std::move(order));
  }
};

const Registration<LinearKernelFactory, OrderedKernels> kRegistration;

}  // namespace
}  // namespace bitsmith
