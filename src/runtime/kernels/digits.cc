// Linear layers with weights that are sums of planes of bits or trits, multiplied as integers where
// they lie: binary, ternary, bit planes.
#include <algorithm>
#include <string>

#include "runtime/kernels/digit_panels.h"
#include "runtime/kernels/kernel_family.h"

namespace bitsmith {
namespace {

constexpr int64_t kActivationGroup = 32;

class DigitKernel final : public LinearKernel {
 public:
  DigitKernel(const DigitMatrix& matrix, std::span<const std::byte> bytes)
      : matrix_(matrix),
        bytes_(reinterpret_cast<const uint8_t*>(bytes.data())),
        name_(fmt::format("int8 dot product of {}, {}", matrix.base() == 3 ? "trits" : "bits",
                          int_dot_name())) {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    const GroupedLayout& layout = matrix_.layout;
    BITSMITH_ASSERT(x.cols() == layout.shape().cols && y_stride >= layout.shape().rows);
    if (x.tokens() == 0 || layout.codes.panels == 0) return;
    DigitJob job;
    job.matrix = &matrix_;
    job.codes = bytes_ + layout.codes_offset;
    for (int p = 0; p < matrix_.planes(); ++p) {
      job.scales[p] = GroupScales(layout, bytes_, p, ScaleFormat::kF16, 1.0F);
    }
    if (matrix_.has_mean) {
      job.mean = GroupScales(layout, bytes_, matrix_.planes(), ScaleFormat::kF16, 1.0F);
    }
    job.x = &x.int8(kActivationGroup, pool);
    job.tokens = x.tokens();
    job.y = y;
    job.y_stride = y_stride;
    for_panel_ranges(layout.codes.panels, x.tokens(), job.scratch_bytes(), pool,
                     [&](const PanelRange& range, std::span<uint8_t> scratch) {
                       multiply_digits(job, range, scratch);
                     });
  }

  std::string_view name() const override { return name_; }

 private:
  DigitMatrix matrix_;
  const uint8_t* bytes_;
  std::string name_;
};

class DigitKernels final : public LinearKernelFamily {
 public:
  const PartInfo& info() const override {
    static const PartInfo info = {"digits", "integer dot products of planes of bits or trits", ""};
    return info;
  }

  bool takes(const Codec& codec) const override {
    return dynamic_cast<const DigitCodec*>(&codec) != nullptr;
  }

  std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const override {
    const auto& codec = dynamic_cast<const DigitCodec&>(*weights.scheme.codec);
    const auto matrix = codec.digit_matrix(weights.matrix(), weights.scheme.options);
    if (!matrix || matrix->planes() > static_cast<int>(DigitJob::kMaxPlanes)) return nullptr;
    const GroupedLayout& layout = matrix->layout;
    if (layout.groups > 1 && layout.group_cols % kActivationGroup != 0) return nullptr;
    BITSMITH_ASSERT(weights.bytes.size() >= static_cast<size_t>(layout.total_bytes));
    return std::make_unique<DigitKernel>(*matrix, weights.bytes);
  }
};

const Registration<LinearKernelFamily, DigitKernels> registration;

}  // namespace
}  // namespace bitsmith
