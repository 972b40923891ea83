// Sum of two values, element by element, or of a value and a vector in each row.
#include <algorithm>

#include "runtime/kernels/elementwise.h"
#include "runtime/operators/elementwise_step.h"

namespace bitsmith {
namespace {

class AddVectorStep final : public Step {
 public:
  AddVectorStep(Preparation& preparation, const Node& node, size_t value)
      : vector_(preparation.vector(node.inputs[1 - value])),
        x_(node.inputs[value]),
        y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    const auto channels = static_cast<int64_t>(vector_.size());
    for_rows(batch, batch.rows(), channels, [&](int64_t begin, int64_t end) {
      float* const y = batch.data(y_) + begin * channels;
      const float* const x = batch.data(x_) + begin * channels;
      if (x != y) std::copy_n(x, (end - begin) * channels, y);
      add_bias(vector_.data(), end - begin, channels, channels, y);
    });
  }

  uint64_t memory_bytes() const override { return vector_.size() * sizeof(float); }

 private:
  std::vector<float> vector_;
  ValueId x_;
  ValueId y_;
};

class Add final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"add", "element by element, or a vector to each row", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    const Graph& graph = preparation.graph();
    for (const size_t value : {0, 1}) {
      const Value& other = graph.value(node.inputs[1 - value]);
      if (other.kind != ValueKind::kParameter) continue;
      const int64_t channels = preparation.channels(node.outputs[0]);
      if (other.shape == Shape{channels} && preparation.channels(node.inputs[value]) == channels) {
        return std::make_unique<AddVectorStep>(preparation, node, value);
      }
    }
    return std::make_unique<BinaryStep<add, 1>>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0, 1}; }
};

const Registration<NativeOperator, Add> registration;

}  // namespace
}  // namespace bitsmith
