// Linear layers with weights of the codec `e8`, multiplied as integers where they lie.
#include "codecs/e8.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "codecs/blocks.h"
#include "runtime/kernels/aligned.h"
#include "runtime/kernels/e8_job.h"
#include "runtime/kernels/int_panels.h"
#include "runtime/kernels/linear.h"

namespace bitsmith {
namespace {

constexpr int64_t kActivationGroup = 32;

// E8Job::patterns, from points without negative elements but perhaps the last.
AlignedArray<uint8_t> make_patterns() {
  AlignedArray<uint8_t> patterns(4 * 256);
  for (unsigned pattern = 0; pattern < 256; ++pattern) {
    float point[8];
    E8Codebook::instance().decode(static_cast<uint16_t>(pattern << 8 | 1), point);
    for (int i = 0; i < 8; ++i) {
      const float element = point[i] - 0.25F;
      const unsigned u = static_cast<unsigned>(std::fabs(element)) | 4;
      patterns[i / 2 * 256 + static_cast<int64_t>(pattern)] |=
          static_cast<uint8_t>((element < 0 ? u ^ 7 : u) << (i % 2 * 4));
    }
  }
  return patterns;
}

class E8Kernel final : public LinearKernel {
 public:
  E8Kernel(const GroupedLayout& layout, const MatrixShape& shape, const std::byte* bytes)
      : layout_(layout),
        shape_(shape),
        bytes_(reinterpret_cast<const uint8_t*>(bytes)),
        name_(fmt::format("int8 dot product of E8 points, {}", int_dot_name())) {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    BITSMITH_ASSERT(x.cols() == shape_.cols && y_stride >= shape_.rows);
    if (x.tokens() == 0 || layout_.codes.panels == 0) return;
    static const AlignedArray<uint8_t> patterns = make_patterns();
    E8Job job;
    job.shape = shape_;
    job.scales = GroupScales(layout_, bytes_, 0, ScaleFormat::kF16, E8Job::kUnit);
    job.group_cols = layout_.group_cols * 8;
    job.offset = E8Job::kOffset;
    job.x = &x.int8(kActivationGroup, pool);
    job.tokens = x.tokens();
    job.y = y;
    job.y_stride = y_stride;
    job.planes = &layout_.codes;
    job.codes = bytes_ + layout_.codes_offset;
    job.patterns = patterns.data();
    std::vector<int8_t> by_element;
    std::vector<int8_t> sums;
    if (job.tokens == 1) {
      by_element = codes_by_element(job.x->codes, 8);
      job.x_by_element = by_element.data();
      sums = block_sums(job.x->codes);
      job.block_sums = sums.data();
    }
    for_panel_ranges(layout_.codes.panels, x.tokens(), job.scratch_bytes(), pool,
                     [&](const PanelRange& range, std::span<uint8_t> scratch) {
                       multiply_e8(job, range, scratch);
                     });
  }

  std::string_view name() const override { return name_; }

 private:
  static std::vector<int8_t> block_sums(const std::vector<int8_t>& codes) {
    std::vector<int8_t> sums(codes.size() / 32 * 8);
    for (size_t block = 0; block < codes.size() / 8; ++block) {
      int sum = 0;
      for (size_t i = 0; i < 8; ++i) sum += codes[block * 8 + i];
      int8_t* low = sums.data() + block / 4 * 8 + block % 4;
      low[0] = static_cast<int8_t>(sum & 63);
      low[4] = static_cast<int8_t>(sum >> 6);
    }
    return sums;
  }

  GroupedLayout layout_;
  MatrixShape shape_;
  const uint8_t* bytes_;
  std::string name_;
};

class E8KernelFactory final : public LinearKernelFactory {
 public:
  const PartInfo& info() const override {
    static const PartInfo info = {"e8", "integer dot products of lattice points", ""};
    return info;
  }

  std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const override {
    const MatrixShape shape = weights.matrix();
    const GroupedLayout layout =
        block_layout("e8", shape, 8, 16, weights.scheme.options.integer("group"), 0, {2});
    BITSMITH_ASSERT(weights.bytes.size() >= static_cast<size_t>(layout.total_bytes));
    if (layout.groups > 1 && layout.group_cols * 8 % kActivationGroup != 0) return nullptr;
    return std::make_unique<E8Kernel>(layout, shape, weights.bytes.data());
  }
};

const Registration<LinearKernelFactory, E8KernelFactory> registration;

}  // namespace
}  // namespace bitsmith
