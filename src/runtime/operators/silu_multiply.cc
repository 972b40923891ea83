// silu(gate) * up in one pass.
#include "runtime/kernels/elementwise.h"
#include "runtime/operators/elementwise_step.h"

namespace bitsmith {
namespace {

class SiluMultiply final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"silu_multiply",
                                "silu(gate) * up in one pass; made by fuse_graph()", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<BinaryStep<silu_multiply, 8>>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0, 1}; }
};

const Registration<NativeOperator, SiluMultiply> registration;

}  // namespace
}  // namespace bitsmith
