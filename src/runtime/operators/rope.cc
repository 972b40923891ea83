// Rotary position embedding with tables shared by all layers of the same frequencies.
#include "runtime/kernels/elementwise.h"
#include "runtime/native_operator.h"
#include "runtime/rope_table.h"

namespace bitsmith {
namespace {

class RopeStep final : public Step {
 public:
  RopeStep(Preparation& preparation, const Node& node)
      : table_(preparation.rope_table(node)),
        channels_(preparation.channels(node.inputs[0])),
        x_(node.inputs[0]),
        y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    const float* x = batch.data(x_);
    float* y = batch.data(y_);
    int64_t positions = 0;
    for (const int64_t position : batch.positions) positions = std::max(positions, position + 1);
    table_->reserve(positions);
    const int64_t head = 2 * table_->pairs();
    for_rows(batch, batch.rows(), 2 * channels_, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end;) {
        const int64_t position = batch.positions[static_cast<size_t>(row)];
        int64_t count = 1;  // rows at consecutive positions
        while (row + count < end &&
               batch.positions[static_cast<size_t>(row + count)] == position + count) {
          ++count;
        }
        rope(x + row * channels_, table_->cosines(position), table_->sines(position), count,
             channels_ / head, head, y + row * channels_);
        row += count;
      }
    });
  }

 private:
  std::shared_ptr<RopeTable> table_;
  int64_t channels_;
  ValueId x_;
  ValueId y_;
};

class Rope final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"rope", "rotation by a table of cosines and sines", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<RopeStep>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0}; }
};

const Registration<NativeOperator, Rope> registration;

}  // namespace
}  // namespace bitsmith
