// gelu, approximated by tanh.
#include "runtime/kernels/elementwise.h"
#include "runtime/operators/elementwise_step.h"

namespace bitsmith {
namespace {

class GeluTanh final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"gelu_tanh", "element by element", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<UnaryStep<gelu_tanh, 8>>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0}; }
};

const Registration<NativeOperator, GeluTanh> registration;

}  // namespace
}  // namespace bitsmith
