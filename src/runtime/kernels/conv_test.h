// What tests of convolutions share: shapes, and problems of integers.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "runtime/kernels/conv_integer.h"
#include "runtime/kernels/conv_shapes.h"
#include "runtime/kernels/targets_test.h"

namespace bitsmith {

struct ConvCase {
  const char* name;
  ConvShape shape;
  int64_t images;
};

// Panels of 16 outputs, tiles of 4 to 12 pixels, steps of 4 bytes: each with and without a rest.
inline std::vector<ConvCase> conv_cases() {
  ConvShape uneven = square(5, 9, 7, 1, 1, 0);
  uneven.width = 6;
  uneven.kernel_h = 4;
  uneven.kernel_w = 2;
  uneven.stride_h = 2;
  uneven.stride_w = 3;
  uneven.pad_top = 2;
  uneven.pad_right = 1;
  return {{"one_value", square(1, 1, 1, 1, 1, 0), 1},
          {"connected", square(100, 1, 10, 1, 1, 0), 3},
          {"connected_33", square(64, 1, 33, 1, 1, 0), 13},
          {"pointwise", square(20, 5, 48, 1, 1, 0), 2},
          {"pointwise_stride", square(16, 7, 17, 1, 2, 0), 1},
          {"stem", square(3, 17, 16, 3, 1, 1), 1},
          {"stem_7", square(3, 20, 40, 7, 2, 3), 1},
          {"body", square(16, 8, 32, 3, 1, 1), 2},
          {"body_stride", square(32, 9, 64, 3, 2, 1), 2},
          {"valid", square(6, 8, 18, 3, 1, 0), 2},
          {"uneven", uneven, 2},
          {"dilated", dilated(square(8, 11, 20, 3, 1, 2), 2, 2), 1},
          {"dilated_rows", dilated(square(4, 9, 16, 3, 1, 2), 2, 1), 1},
          {"grouped", grouped(square(12, 6, 40, 3, 1, 1), 2), 2},
          {"grouped_4", grouped(square(8, 6, 24, 3, 1, 1), 2), 2},
          {"outside", square(4, 3, 5, 1, 1, 2), 2},  // windows without a pixel
          {"beyond", square(8, 2, 6, 5, 1, 2), 3},
          {"grouped_stride", grouped(square(9, 7, 6, 3, 2, 1), 3), 1},
          {"multiplier", grouped(square(5, 6, 10, 3, 1, 1), 5), 1},
          {"depthwise", grouped(square(32, 10, 32, 3, 1, 1), 32), 2},
          {"depthwise_stride", grouped(square(70, 9, 70, 3, 2, 1), 70), 1},
          {"depthwise_5", grouped(square(150, 7, 150, 5, 1, 2), 150), 1},
          {"depthwise_1", grouped(square(3, 4, 3, 1, 1, 0), 3), 1},
          {"depthwise_dilated", grouped(dilated(square(17, 9, 17, 3, 1, 2), 2, 2), 17), 2}};
}

// Input codes at both ends of the range, and channels of very different scales.
template <class Weight>
struct IntegerProblem {
  // draw() makes a weight;  deviation: of a product
  template <class Draw>
  IntegerProblem(const ConvCase& c, uint64_t seed, double deviation, const Draw& draw)
      : shape(c.shape), images(c.images) {
    Random random(seed, c.name);
    const int64_t inputs = shape.weights() / shape.outputs;
    const int64_t pixels = images * shape.height * shape.width;
    x.resize(static_cast<size_t>(pixels * shape.channels + kConvSlackBytes));
    for (uint8_t& code : x) {
      const uint64_t kind = random.below(4);
      code = static_cast<uint8_t>(kind == 0 ? 255 : kind == 1 ? 0 : random.below(256));
    }
    for (int64_t i = 0; i < shape.weights(); ++i) weights.push_back(draw(random));
    for (int64_t o = 0; o < shape.outputs; ++o) {
      bias.push_back(static_cast<int32_t>(random.below(100000)) - 50000);
      const double spread = deviation * std::sqrt(static_cast<double>(inputs));
      const double scale = std::exp2(random.uniform() * 6 - 1) * 10 / spread;
      scales.push_back(make_dyadic(o % 5 == 4 ? -scale : scale));
      number_scales.push_back(static_cast<float>(scale));
    }
    spec = {shape,
            weights,
            bias,
            scales,
            static_cast<uint8_t>(random.below(256)),
            static_cast<uint8_t>(64 + random.below(128)),
            0,
            255};
  }

  size_t expected_size() const {
    return static_cast<size_t>(images * shape.pixels() * shape.outputs);
  }

  ConvShape shape;
  int64_t images;
  std::vector<uint8_t> x;
  std::vector<Weight> weights;
  std::vector<int32_t> bias;
  std::vector<Dyadic> scales;
  std::vector<float> number_scales;
  IntegerConvSpec<Weight> spec;
};

}  // namespace bitsmith
