// Product of two values, element by element.
#include "runtime/kernels/elementwise.h"
#include "runtime/operators/elementwise_step.h"

namespace bitsmith {
namespace {

class Multiply final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"multiply", "element by element", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<BinaryStep<multiply, 1>>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0, 1}; }
};

const Registration<NativeOperator, Multiply> registration;

}  // namespace
}  // namespace bitsmith
