// factor * x.
#include "runtime/kernels/elementwise.h"
#include "runtime/operators/elementwise_step.h"

namespace bitsmith {
namespace {

class Scale final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"scale", "element by element", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<NumberStep<scale, 1>>(preparation, node, "factor");
  }
  std::vector<size_t> in_place_inputs() const override { return {0}; }
};

const Registration<NativeOperator, Scale> registration;

}  // namespace
}  // namespace bitsmith
