// Linear layers with weights of the codec `trellis`, whose values are computed as they are
// multiplied.
#include "codecs/trellis.h"

#include <algorithm>
#include <map>
#include <string>

#include "runtime/kernels/int_panels.h"
#include "runtime/kernels/linear.h"
#include "runtime/kernels/trellis_job.h"

namespace bitsmith {
namespace {

constexpr int64_t kActivationGroup = 32;

using Code = TrellisJob::Code;

// How the values of a code are numbers of a NumberJob.
struct CodeNumbers {
  Code code;
  float unit;
  int32_t offset;
  int radix_bits;
  std::vector<uint16_t> numbers;  // [2^16] by state; exact
};

CodeNumbers make_numbers(const char* name, Code code, float unit, int32_t offset, int radix_bits) {
  CodeNumbers result{code, unit, offset, radix_bits, {}};
  for (const float value : trellis_values(name)) {
    result.numbers.push_back(static_cast<uint16_t>(static_cast<int32_t>(value / unit) + offset));
  }
  return result;
}

const CodeNumbers& numbers_of(const std::string& code) {
  using Job = TrellisJob;
  static const std::map<std::string, CodeNumbers> all = {
      {"3inst", make_numbers("3inst", Code::k3Inst, Job::kHalfUnit, Job::kHalfOffset, 8)},
      {"mcg", make_numbers("mcg", Code::kMcg, Job::kHalfUnit, Job::kHalfOffset, 8)},
      {"mul1", make_numbers("mul1", Code::kMul1, Job::kByteUnit, Job::kByteOffset, 8)},
      {"lookup",
       make_numbers("lookup", Code::kLookup, Job::kLookupUnit, Job::kLookupOffset, Job::kOneByte)}};
  return all.at(code);
}

class TrellisKernel final : public LinearKernel {
 public:
  TrellisKernel(const TrellisLayout& layout, const std::string& code, const std::byte* bytes)
      : layout_(layout),
        code_(numbers_of(code)),
        bytes_(reinterpret_cast<const uint8_t*>(bytes)),
        name_(fmt::format("int8 dot product of trellis values, {}", int_dot_name())) {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    BITSMITH_ASSERT(x.cols() == layout_.shape.cols && y_stride >= layout_.shape.rows);
    const int64_t panels = ceil_div(layout_.shape.rows, TrellisLayout::kPanelRows);
    if (x.tokens() == 0 || panels == 0) return;
    TrellisJob job;
    job.shape = layout_.shape;
    job.scales.kind = ScaleKind::kF16;
    job.scales.factor = code_.unit;
    job.scales.scales = bytes_ + layout_.scales_offset;
    job.scales.group_bytes = TrellisLayout::kPanelRows * 2;
    job.scales.panel_bytes = job.scales.group_bytes * layout_.groups;
    job.group_cols = layout_.group_tiles * TrellisLayout::kTileCols;
    job.offset = code_.offset;
    job.radix_bits = code_.radix_bits;
    job.x = &x.int8(kActivationGroup, pool);
    job.tokens = x.tokens();
    job.y = y;
    job.y_stride = y_stride;
    job.layout = &layout_;
    job.words = bytes_;
    job.code = code_.code;
    job.numbers = code_.numbers.data();
    std::vector<uint8_t> repeated;
    if (job.tokens == 1) {
      repeated = in_repeated(job.x->codes);
      job.x_repeated = repeated.data();
    }
    for_panel_ranges(panels, x.tokens(), job.scratch_bytes(), pool,
                     [&](const PanelRange& range, std::span<uint8_t> scratch) {
                       multiply_trellis(job, range, scratch);
                     });
  }

  std::string_view name() const override { return name_; }

 private:
  // TrellisJob::x_repeated.
  std::vector<uint8_t> in_repeated(const std::vector<int8_t>& codes) const {
    std::vector<uint8_t> result;
    for (const int8_t code : codes) {
      const auto low = static_cast<uint8_t>(code);
      const uint8_t high = code < 0 ? 0xff : 0;
      switch (code_.code) {
        case Code::kLookup:
          result.push_back(low);
          break;
        case Code::kMul1:
          result.insert(result.end(), 2, low);
          break;
        default:
          result.insert(result.end(), {low, high, low, high});
      }
    }
    return result;
  }

  TrellisLayout layout_;
  const CodeNumbers& code_;
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
    if (options.integer("quarters") != 0) return nullptr;
    const TrellisLayout layout(weights.matrix(), static_cast<int>(options.integer("bits")),
                               options.integer("group"));
    BITSMITH_ASSERT(weights.bytes.size() >= static_cast<size_t>(layout.total_bytes));
    return std::make_unique<TrellisKernel>(layout, options.text("code"), weights.bytes.data());
  }
};

const Registration<LinearKernelFactory, TrellisKernelFactory> registration;

}  // namespace
}  // namespace bitsmith
