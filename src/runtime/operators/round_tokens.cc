// Rows rounded to integers times a scale of each: what int8 dot products then multiply exactly.
#include <algorithm>
#include <cmath>

#include "runtime/native_operator.h"

namespace bitsmith {
namespace {

// To the nearest whole number, ties to even, for |x| <= 2^22; becomes SIMD code.
inline float nearest_whole(float x) {
  constexpr float kShift = 0x1.8p23F;
  return (x + kShift) - kShift;
}

class RoundTokensStep final : public Step {
 public:
  RoundTokensStep(Preparation& preparation, const Node& node)
      : levels_(static_cast<float>((1 << (node.integer("bits") - 1)) - 1)),
        channels_(preparation.channels(node.inputs[0])),
        x_(node.inputs[0]),
        y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    for_rows(batch, batch.rows(), channels_, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        round(batch.data(x_) + row * channels_, batch.data(y_) + row * channels_);
      }
    });
  }

 private:
  void round(const float* x, float* y) const {
    float largest = 0;
    for (int64_t c = 0; c < channels_; ++c) largest = std::max(largest, std::fabs(x[c]));
    if (!(largest >= 0x1p-120F)) {
      std::fill_n(y, channels_, 0.0F);
      return;
    }
    const float inverse = levels_ / largest;
    const float scale = largest / levels_;
    for (int64_t c = 0; c < channels_; ++c) y[c] = nearest_whole(x[c] * inverse) * scale;
  }

  float levels_;
  int64_t channels_;
  ValueId x_;
  ValueId y_;
};

class RoundTokens final : public NativeOperator {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"round_tokens", "a pass for the range and one for the numbers", ""};
    return kInfo;
  }
  std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const override {
    return std::make_unique<RoundTokensStep>(preparation, node);
  }
  std::vector<size_t> in_place_inputs() const override { return {0}; }
};

const Registration<NativeOperator, RoundTokens> registration;

}  // namespace
}  // namespace bitsmith
