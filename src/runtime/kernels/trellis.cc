// Linear layers with weights of the codec `trellis`, whose values are computed as they are
// multiplied.
#include "codecs/trellis.h"

#include <algorithm>
#include <string>

#include "runtime/kernels/int_panels.h"
#include "runtime/kernels/linear.h"
#include "runtime/kernels/trellis_job.h"

namespace bitsmith {
namespace {

constexpr int64_t kActivationGroup = 32;

using Code = TrellisJob::Code;

// TrellisJob::numbers: exact.
const std::vector<uint16_t>& numbers_of(const std::string& code) {
  const auto make = [](const char* name, float unit, int32_t offset) {
    std::vector<uint16_t> numbers;
    for (const float value : trellis_values(name)) {
      numbers.push_back(static_cast<uint16_t>(static_cast<int32_t>(value / unit) + offset));
    }
    return numbers;
  };
  static const auto inst = make("3inst", TrellisJob::kHalfUnit, TrellisJob::kHalfOffset);
  static const auto mcg = make("mcg", TrellisJob::kHalfUnit, TrellisJob::kHalfOffset);
  static const auto mul1 = make("mul1", TrellisJob::kByteUnit, TrellisJob::kByteOffset);
  return code == "3inst" ? inst : code == "mcg" ? mcg : mul1;
}

class TrellisKernel final : public LinearKernel {
 public:
  TrellisKernel(const TrellisLayout& layout, const std::string& code, const std::byte* bytes)
      : layout_(layout),
        code_(code == "3inst" ? Code::k3Inst
              : code == "mcg" ? Code::kMcg
                              : Code::kMul1),
        numbers_(numbers_of(code)),
        bytes_(reinterpret_cast<const uint8_t*>(bytes)),
        name_(fmt::format("int8 dot product of trellis values, {}", int_dot_name())) {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    BITSMITH_ASSERT(x.cols() == layout_.shape.cols && y_stride >= layout_.shape.rows);
    const int64_t panels = ceil_div(layout_.shape.rows, TrellisLayout::kPanelRows);
    if (x.tokens() == 0 || panels == 0) return;
    const bool sums_bytes = code_ == Code::kMul1;
    TrellisJob job;
    job.shape = layout_.shape;
    job.scales.kind = ScaleKind::kF16;
    job.scales.factor = sums_bytes ? TrellisJob::kByteUnit : TrellisJob::kHalfUnit;
    job.scales.scales = bytes_ + layout_.scales_offset;
    job.scales.group_bytes = TrellisLayout::kPanelRows * 2;
    job.scales.panel_bytes = job.scales.group_bytes * layout_.groups;
    job.group_cols = layout_.group_tiles * TrellisLayout::kTileCols;
    job.offset = sums_bytes ? TrellisJob::kByteOffset : TrellisJob::kHalfOffset;
    job.radix_bits = TrellisJob::kRadixBits;
    job.x = &x.int8(kActivationGroup, pool);
    job.tokens = x.tokens();
    job.y = y;
    job.y_stride = y_stride;
    job.layout = &layout_;
    job.words = bytes_;
    job.code = code_;
    job.numbers = numbers_.data();
    std::vector<uint8_t> repeated;
    if (job.tokens == 1) {
      repeated = sums_bytes ? in_bytes(job.x->codes) : in_halves(job.x->codes);
      job.x_repeated = repeated.data();
    }
    for_panel_ranges(panels, x.tokens(), pool, [&](const PanelRange& range) {
      thread_local std::vector<uint8_t> scratch;
      scratch.resize(std::max(scratch.size(), static_cast<size_t>(job.scratch_bytes())));
      multiply_trellis(job, range, scratch);
    });
  }

  std::string_view name() const override { return name_; }

 private:
  static std::vector<uint8_t> in_bytes(const std::vector<int8_t>& codes) {
    std::vector<uint8_t> result;
    for (const int8_t code : codes) result.insert(result.end(), 2, static_cast<uint8_t>(code));
    return result;
  }
  static std::vector<uint8_t> in_halves(const std::vector<int8_t>& codes) {
    std::vector<uint8_t> result;
    for (const int8_t code : codes) {
      const auto low = static_cast<uint8_t>(code);
      const uint8_t high = code < 0 ? 0xff : 0;
      result.insert(result.end(), {low, high, low, high});
    }
    return result;
  }

  TrellisLayout layout_;
  Code code_;
  const std::vector<uint16_t>& numbers_;
  const uint8_t* bytes_;
  std::string name_;
};

class TrellisKernelFactory final : public LinearKernelFactory {
 public:
  const PartInfo& info() const override {
    static const PartInfo info = {"trellis", "integer dot products of computed values", ""};
    return info;
  }

  std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const override {
    const Options& options = weights.scheme.options;
    const TrellisLayout layout(weights.matrix(), static_cast<int>(options.integer("bits")),
                               options.integer("group"));
    BITSMITH_ASSERT(weights.bytes.size() >= static_cast<size_t>(layout.total_bytes));
    return std::make_unique<TrellisKernel>(layout, options.text("code"), weights.bytes.data());
  }
};

const Registration<LinearKernelFactory, TrellisKernelFactory> registration;

}  // namespace
}  // namespace bitsmith
