// gelu_tanh(gate) * up in one pass.
#include "runtime/kernels/elementwise.h"
#include "runtime/operators/elementwise_step.h"

namespace bitsmith {
namespace {

class GeluTanhMultiply final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"gelu_tanh_multiply",
                                "gelu_tanh(gate) * up in one pass; made by fuse_graph()", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<BinaryStep<gelu_tanh_multiply, 8>>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0, 1}; }
};

const Registration<NativeOperator, GeluTanhMultiply> registration;

}  // namespace
}  // namespace bitsmith
