// The choice of a kernel for a tensor, and the one that works for every codec.
#include "runtime/kernels/linear.h"

#include <algorithm>
#include <string>

#include "core/huge_memory.h"

#include "runtime/kernels/float_rows.h"
#include "runtime/kernels/kernel_family.h"

namespace bitsmith {
namespace {

// Decodes a few rows at a time into scratch. Right for any codec, as slow as its decoder.
class DecodingKernel final : public LinearKernel {
 public:
  explicit DecodingKernel(const CodedTensor& weights)
      : weights_(weights),
        name_(fmt::format("decoded to float32 at every use (no kernel for {})",
                          weights.scheme.label())),
        kept_name_(
            fmt::format("decoded to float32 once (no kernel for {})", weights.scheme.label())) {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    const MatrixShape shape = weights_.matrix();
    BITSMITH_ASSERT(x.cols() == shape.cols && y_stride >= shape.rows);
    if (x.tokens() == 0 || shape.rows == 0) return;
    const auto body = [&](int64_t i, int) {
      thread_local std::vector<float> scratch;
      const int64_t row = i * kRows;
      const int64_t rows = std::min(kRows, shape.rows - row);
      const float* decoded = nullptr;
      if (memory_ != nullptr) {
        decoded = reinterpret_cast<const float*>(memory_->bytes().data()) + row * shape.cols;
      } else {
        scratch.resize(static_cast<size_t>(rows * shape.cols));
        weights_.decode(row, rows, scratch.data());
        decoded = scratch.data();
      }
      const int64_t block = float_token_block(shape.cols);
      for (int64_t t = 0; t < x.tokens(); t += block) {
        multiply_float_rows(decoded, DType::kF32, rows, shape.cols, x.data() + t * shape.cols,
                            std::min(block, x.tokens() - t), y + t * y_stride + row, y_stride);
      }
    };
    pool.run(ceil_div(shape.rows, kRows), body);
  }

  std::string_view name() const override { return memory_ != nullptr ? kept_name_ : name_; }

  uint64_t decoded_bytes() const override {
    const MatrixShape shape = weights_.matrix();
    return static_cast<uint64_t>(shape.rows * shape.cols) * sizeof(float);
  }

  void keep_decoded(ThreadPool& pool) override {
    if (memory_ != nullptr) return;
    const MatrixShape shape = weights_.matrix();
    auto memory = std::make_unique<HugeMemory>(decoded_bytes());
    auto* const out = reinterpret_cast<float*>(memory->bytes().data());
    pool.run(ceil_div(shape.rows, kRows), [&](int64_t i, int) {
      const int64_t row = i * kRows;
      weights_.decode(row, std::min(kRows, shape.rows - row), out + row * shape.cols);
    });
    memory_ = std::move(memory);
  }

 private:
  static constexpr int64_t kRows = 16;  // one panel of the codec `int`; small enough for any cache

  CodedTensor weights_;
  std::string name_;
  std::string kept_name_;
  std::unique_ptr<HugeMemory> memory_;  // [rows, cols] float32, if kept
};

}  // namespace

std::unique_ptr<LinearKernel> make_decoding_kernel(const CodedTensor& weights) {
  return std::make_unique<DecodingKernel>(weights);
}

std::unique_ptr<LinearKernel> make_linear_kernel(const CodedTensor& weights) {
  const Codec& codec = *weights.scheme.codec;
  if (const auto* factory = Registry<LinearKernelFactory>::instance().find(codec.info().id)) {
    if (auto kernel = factory->make(weights)) return kernel;
  }
  for (const LinearKernelFamily* family : Registry<LinearKernelFamily>::instance().all()) {
    if (!family->takes(codec)) continue;
    if (auto kernel = family->make(weights)) return kernel;
  }
  return make_decoding_kernel(weights);
}

}  // namespace bitsmith
