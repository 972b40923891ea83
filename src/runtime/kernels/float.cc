// Linear layers with plain weights, f32, f16 or bf16, multiplied in float32 where they lie.
#include <algorithm>

#include "runtime/kernels/float_rows.h"
#include "runtime/kernels/linear.h"

namespace bitsmith {
namespace {

class FloatKernel final : public LinearKernel {
 public:
  FloatKernel(const CodedTensor& weights, DType dtype)
      : shape_(weights.matrix()), dtype_(dtype), bytes_(weights.bytes.data()) {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    BITSMITH_ASSERT(x.cols() == shape_.cols && y_stride >= shape_.rows);
    if (x.tokens() == 0 || shape_.rows == 0) return;
    constexpr int64_t kTasksPerThread = 4;
    const int64_t tokens = float_token_block(shape_.cols);
    const int64_t token_ranges = ceil_div(x.tokens(), tokens);
    const int64_t wanted = ceil_div(pool.threads() * kTasksPerThread, token_ranges);
    const int64_t rows = ceil_div(ceil_div(shape_.rows, wanted), 4) * 4;
    const int64_t row_ranges = ceil_div(shape_.rows, rows);
    const int64_t row_bytes = shape_.cols * size_bytes(dtype_);
    const auto body = [&](int64_t i, int) {
      const int64_t r = i % row_ranges * rows;
      const int64_t t = i / row_ranges * tokens;
      multiply_float_rows(bytes_ + r * row_bytes, dtype_, std::min(rows, shape_.rows - r),
                          shape_.cols, x.data() + t * shape_.cols, std::min(tokens, x.tokens() - t),
                          y + t * y_stride + r, y_stride);
    };
    pool.run(row_ranges * token_ranges, body);
  }

  std::string_view name() const override { return "float32 multiply-add"; }

 private:
  MatrixShape shape_;
  DType dtype_;
  const std::byte* bytes_;
};

template <DType kDType>
class FloatKernelFactory final : public LinearKernelFactory {
 public:
  const PartInfo& info() const override {
    static const PartInfo info = {kDType == DType::kF32   ? "f32"
                                  : kDType == DType::kF16 ? "f16"
                                                          : "bf16",
                                  "float32 multiply-add", ""};
    return info;
  }

  std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const override {
    const MatrixShape shape = weights.matrix();
    BITSMITH_ASSERT(static_cast<int64_t>(weights.bytes.size()) >=
                    shape.rows * shape.cols * size_bytes(kDType));
    return std::make_unique<FloatKernel>(weights, kDType);
  }
};

const Registration<LinearKernelFactory, FloatKernelFactory<DType::kF32>> f32;
const Registration<LinearKernelFactory, FloatKernelFactory<DType::kF16>> f16;
const Registration<LinearKernelFactory, FloatKernelFactory<DType::kBF16>> bf16;

}  // namespace
}  // namespace bitsmith
