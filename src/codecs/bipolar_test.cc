// Codec `bipolar`: its levels, distortion against theory, readings of the high bits.
#include <gtest/gtest.h>

#include <cmath>

#include "codecs/codec_testing.h"
#include "codecs/grouped.h"
#include "codecs/nested.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::gaussian_error;

Scheme bipolar(int bits, int64_t group) {
  return Scheme("bipolar", {{"bits", bits}, {"group", group}});
}

TEST(Bipolar, LevelsAreOddMultiples) {
  ThreadPool pool(1);
  const std::vector<float> w = {3, -3, 1, -1, 0.4F, -2.2F, 1.9F};
  EXPECT_EQ(encode(bipolar(2, 0), {1, 7}, w, pool).values,
            (std::vector<float>{3, -3, 1, -1, 1, -3, 1}));
}

// The best uniform quantizers of a normal source without a level at 0: Max 1960, table II.
TEST(Bipolar, LosesWhatUniformQuantizersLose) {
  EXPECT_NEAR(gaussian_error(bipolar(1, 0), 40) / 0.3634, 1, 0.01);
  EXPECT_NEAR(gaussian_error(bipolar(2, 0), 40) / 0.1188, 1, 0.01);
  EXPECT_NEAR(gaussian_error(bipolar(3, 0), 40) / 0.03744, 1, 0.02);
  EXPECT_NEAR(gaussian_error(bipolar(4, 0), 40) / 0.01154, 1, 0.02);
}

// The high bits of a code are the middle of the wider cell, a part of [-2, 2] times the scale, that
// the whole code lies in.
TEST(Bipolar, ReadsHighBits) {
  ThreadPool pool(2);
  const MatrixShape shape{33, 300};
  const auto weights = testing::normal_weights(33 * 300, 6);
  const Scheme whole = bipolar(7, 32);
  const auto encoded = encode(whole, shape, weights, pool);
  const auto& nested = dynamic_cast<const NestedCodec&>(*whole.codec);
  const std::vector<Scheme> readings = nested.readings(whole.options);
  ASSERT_EQ(readings.size(), 6u);
  for (const Scheme& reading : readings) {
    SCOPED_TRACE(reading.label());
    std::vector<std::byte> bytes(reading.codec->encoded_bytes(shape, reading.options),
                                 std::byte{0xaa});
    nested.read_as(shape, whole.options, encoded.bytes, reading, bytes);
    const auto values = testing::decode(reading, shape, bytes, 0, shape.rows);
    const auto bits = static_cast<int>(reading.options.integer("bits"));
    const GroupedLayout layout(CodePlanes::of_bits("test", shape, bits), 32, 0, {2});
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
    for (int64_t row = 0; row < shape.rows; ++row) {
      for (int64_t col = 0; col < shape.cols; ++col) {
        const auto at = static_cast<size_t>(row * shape.cols + col);
        const auto pattern = static_cast<uint16_t>(layout.read_parameter(in, row, col / 32, 0));
        const float cell = f16_to_float(pattern) * std::ldexp(4.0F, -bits);
        ASSERT_EQ(values[at], (std::floor(encoded.values[at] / cell) + 0.5F) * cell);
      }
    }
  }
}

// Of a tensor whose scales have one of their own.
TEST(Bipolar, ReadsScalesOfEveryType) {
  ThreadPool pool(2);
  const MatrixShape shape{17, 70};
  const auto weights = testing::normal_weights(17 * 70, 7);
  for (const char* scale : {"f16", "e8m0", "e4m3", "e5m3"}) {
    const Scheme whole("bipolar", {{"bits", 5}, {"group", 16}, {"scale", scale}});
    const auto encoded = encode(whole, shape, weights, pool);
    const auto& nested = dynamic_cast<const NestedCodec&>(*whole.codec);
    double before = testing::relative_mse(weights, encoded.values);
    for (const Scheme& reading : nested.readings(whole.options)) {
      std::vector<std::byte> bytes(reading.codec->encoded_bytes(shape, reading.options));
      nested.read_as(shape, whole.options, encoded.bytes, reading, bytes);
      const auto values = testing::decode(reading, shape, bytes, 0, shape.rows);
      const double error = testing::relative_mse(weights, values);
      EXPECT_GT(error, 2 * before) << reading.label();
      EXPECT_LT(error, 5 * before) << reading.label();
      before = error;
    }
  }
}

}  // namespace
}  // namespace bitsmith
