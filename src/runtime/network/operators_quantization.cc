// Operators of graph/operators_quantization.h: codes are whole numbers in float32.
#include <algorithm>
#include <cmath>

#include "runtime/network/network_operator.h"
#include "runtime/network/strided_loop.h"

namespace bitsmith {
namespace {

// y = f(x, scale, zero point), which are one for the tensor or one for each position of an axis.
template <bool kQuantize>
class Convert final : public NetworkStep {
 public:
  Convert(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        scale_(p.numbers(node.inputs[1])),
        zero_(p.numbers(node.inputs[2])),
        axis_(static_cast<size_t>(node.integer("axis"))),
        per_channel_(!p.graph().value(node.inputs[1]).shape.empty()) {
    if (zero_.empty()) zero_.assign(scale_.size(), 0.0f);
    if constexpr (kQuantize) {
      low_ = static_cast<float>(node.integer("low"));
      high_ = static_cast<float>(node.integer("high"));
    }
  }

  void run(NetworkFrame& frame) const override {
    const Shape extents = y_.extents(frame);
    Shape channel(extents.size(), 0);
    if (per_channel_) channel[axis_] = 1;
    const StridedLoop<3> loop(extents, {y_.strides(frame), x_.strides(frame), channel});
    loop.run(*frame.pool, 4, [&](const std::array<int64_t, 3>& at, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        const auto c = static_cast<size_t>(at[2] + i * loop.step(2));
        const float x = x_.data(frame)[at[1] + i * loop.step(1)];
        float& y = y_.data(frame)[at[0] + i * loop.step(0)];
        if constexpr (kQuantize) {
          y = std::clamp(std::nearbyint(x / scale_[c]) + zero_[c], low_, high_);
        } else {
          y = (x - zero_[c]) * scale_[c];
        }
      }
    });
  }

 private:
  Operand x_, y_;
  std::vector<float> scale_, zero_;
  size_t axis_;
  bool per_channel_;
  float low_ = 0;
  float high_ = 0;
};

const NetworkOperators operators = {
    {{"quantize", "integer codes of numbers", "", {}},
     LayoutRule::kFollow,
     make_step<Convert<true>>,
     {0}},
    {{"dequantize", "numbers from integer codes", "", {}},
     LayoutRule::kFollow,
     make_step<Convert<false>>,
     {0}},
};

}  // namespace
}  // namespace bitsmith
