// x * sigmoid(x).
#include "runtime/kernels/elementwise.h"
#include "runtime/operators/elementwise_step.h"

namespace bitsmith {
namespace {

class Silu final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"silu", "element by element", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<UnaryStep<silu, 8>>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0}; }
};

const Registration<NativeOperator, Silu> registration;

}  // namespace
}  // namespace bitsmith
