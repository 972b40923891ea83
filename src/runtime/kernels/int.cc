// Linear layers with weights of the codec `int`, multiplied as integers where they lie.
#include "codecs/int_layout.h"

#include <string>

#include "runtime/kernels/int_panels.h"
#include "runtime/kernels/linear.h"

namespace bitsmith {
namespace {

// The length of activation groups for weight groups of `weight_group` columns, each of which must
// be covered by whole activation groups; 0 if there is none. 32 wherever possible, for accuracy,
// because the fast kernels are made for it, and so that layers of different groups share one form.
int64_t activation_group(const IntLayout& layout) {
  if (layout.groups <= 1 || layout.group_cols % 32 == 0) return 32;
  for (int64_t n = 64; n >= 4; n -= 4) {
    if (layout.group_cols % n == 0) return n;
  }
  return 0;
}

class IntKernel final : public LinearKernel {
 public:
  IntKernel(const IntLayout& layout, std::span<const std::byte> bytes)
      : layout_(layout),
        bytes_(reinterpret_cast<const uint8_t*>(bytes.data())),
        activation_group_(activation_group(layout)),
        name_(fmt::format("int8 dot product, {}", int_dot_name())) {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    BITSMITH_ASSERT(x.cols() == layout_.shape.cols && y_stride >= layout_.shape.rows);
    if (x.tokens() == 0 || layout_.panels == 0) return;
    const IntJob job = {&layout_,   bytes_, &x.int8(activation_group_, pool),
                        x.tokens(), y,      y_stride};

    for_panel_ranges(layout_.panels, x.tokens(), int_scratch_bytes(layout_), pool,
                     [&](const PanelRange& range, std::span<uint8_t> scratch) {
                       multiply_int(job, range, scratch);
                     });
  }

  std::string_view name() const override { return name_; }

 private:
  IntLayout layout_;
  const uint8_t* bytes_;
  int64_t activation_group_;
  std::string name_;
};

class IntKernelFactory final : public LinearKernelFactory {
 public:
  const PartInfo& info() const override {
    static const PartInfo info = {"int", "integer dot products with int8 activations", ""};
    return info;
  }

  std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const override {
    const Options& options = weights.scheme.options;
    if (options.text("scale") != "f16") return nullptr;
    const IntLayout layout(weights.matrix(), static_cast<int>(options.integer("bits")),
                           options.integer("group"), options.flag("symmetric"));
    BITSMITH_ASSERT(weights.bytes.size() >= static_cast<size_t>(layout.total_bytes));
    if (activation_group(layout) == 0) return nullptr;
    return std::make_unique<IntKernel>(layout, weights.bytes);
  }
};

const Registration<LinearKernelFactory, IntKernelFactory> registration;

}  // namespace
}  // namespace bitsmith
