// cap * tanh(x / cap).
#include "runtime/kernels/elementwise.h"
#include "runtime/operators/elementwise_step.h"

namespace bitsmith {
namespace {

class SoftCap final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"soft_cap", "element by element", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<NumberStep<soft_cap, 16>>(preparation, node, "cap");
  }
  std::vector<size_t> in_place_inputs() const override { return {0}; }
};

const Registration<NativeOperator, SoftCap> registration;

}  // namespace
}  // namespace bitsmith
