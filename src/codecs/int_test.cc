// Codec `int`: layout drawn by hand, exact values, distortion against theory, laws.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "codecs/codec_testing.h"
#include "codecs/int_fit.h"
#include "codecs/int_layout.h"
#include "codecs/nested.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::normal_weights;
using testing::relative_mse;

Scheme int_scheme(int bits, int64_t group, bool symmetric = false, const char* scale = "f16") {
  return Scheme("int",
                {{"bits", bits}, {"group", group}, {"symmetric", symmetric}, {"scale", scale}});
}

double gaussian_error(int bits, int64_t group, bool symmetric, int search_steps = 0) {
  const MatrixShape shape{256, 2048};
  static const auto weights = normal_weights(static_cast<size_t>(shape.rows * shape.cols), 11);
  static ThreadPool pool;
  const auto encoded = encode(int_scheme(bits, group, symmetric), shape, weights, pool,
                              FitOptions{.search_steps = search_steps});
  return relative_mse(weights, encoded.values);
}

// Independent of the encoder's arithmetic: the layout as int_layout.h draws it, code by code.
int code_at(const IntLayout& layout, const std::vector<std::byte>& bytes, int64_t row,
            int64_t col) {
  int code = 0;
  for (int i = 0; i < layout.plane_count; ++i) {
    const auto& plane = layout.planes[static_cast<size_t>(i)];
    for (int bit = 0; bit < plane.width; ++bit) {
      const int64_t per_vector = 8 / plane.width;
      const int64_t byte = row / 16 * layout.panel_code_bytes + plane.offset_bytes +
                           col / 4 / per_vector * 64 + row % 16 * 4 + col % 4;
      const int64_t in_byte = col / 4 % per_vector * plane.width + bit;
      const int value = static_cast<int>(bytes[static_cast<size_t>(byte)]) >> in_byte & 1;
      code |= value << (plane.shift + bit);
    }
  }
  return code;
}

TEST(IntCodec, CodesLieWhereTheLayoutSays) {
  ThreadPool pool(1);
  for (int bits = 1; bits <= 8; ++bits) {
    const MatrixShape shape{21, 77};
    const Scheme scheme = int_scheme(bits, 32, true);
    const auto weights = normal_weights(static_cast<size_t>(shape.rows * shape.cols), 5);
    const auto encoded = encode(scheme, shape, weights, pool);
    const IntLayout layout(shape, bits, 32, true);
    for (int64_t row = 0; row < shape.rows; ++row) {
      for (int64_t col = 0; col < shape.cols; ++col) {
        const int64_t at =
            layout.scales_offset + 2 * ((row / 16 * layout.groups + col / 32) * 16 + row % 16);
        uint16_t scale;
        std::memcpy(&scale, encoded.bytes.data() + at, 2);
        const float expected =
            f16_to_float(scale) * (static_cast<float>(code_at(layout, encoded.bytes, row, col)) -
                                   layout.symmetric_zero());
        ASSERT_EQ(encoded.values[static_cast<size_t>(row * shape.cols + col)], expected)
            << bits << " bits, row " << row << ", column " << col;
      }
    }
  }
}

TEST(IntCodec, BitsPerWeightAreExact) {
  const MatrixShape shape{4096, 4096};
  const double weights = 4096.0 * 4096.0;
  const auto bpw = [&](int bits, int64_t group, bool symmetric) {
    const Scheme scheme = int_scheme(bits, group, symmetric);
    return 8.0 * static_cast<double>(scheme.codec->encoded_bytes(shape, scheme.options)) / weights;
  };
  EXPECT_DOUBLE_EQ(bpw(4, 128, false), 4.0 + 16.0 / 128 + 4.0 / 128);
  EXPECT_DOUBLE_EQ(bpw(4, 32, true), 4.5);
  EXPECT_DOUBLE_EQ(bpw(3, 64, false), 3.0 + 19.0 / 64);
  EXPECT_DOUBLE_EQ(bpw(1, 0, true), 1.0 + 16.0 / 4096);
}

// Measured on the same source by an independent implementation, float32 scales; the binary16 of
// ours and the finite sample leave 2 %.
TEST(IntCodec, MatchesPublishedGaussianDistortion) {
  const auto near = [](double value, double expected) {
    EXPECT_NEAR(value / expected, 1.0, 0.02) << value << " against " << expected;
  };
  near(gaussian_error(4, 128, false), 0.01010);
  near(gaussian_error(4, 32, false), 0.00652);
  near(gaussian_error(4, 32, true), 0.00738);
  near(gaussian_error(3, 128, false), 0.0464);
  near(gaussian_error(2, 128, false), 0.253);
}

// One bit with the best scale is the one-bit Lloyd-Max quantizer: 1 - 2 / pi.
TEST(IntCodec, OneBitSymmetricIsLloydMax) {
  EXPECT_NEAR(gaussian_error(1, 0, true), 1.0 - 2.0 / 3.141592653589793, 0.002);
}

// With one scale for a long row, the search finds the best uniform quantizer; its distortion is
// known (Max 1960, Table II): 0.01154 at 4 bits, 0.03744 at 3. An even number of levels around 0 is
// offset by half a step from ours, whose zero is a level: a few per cent.
TEST(IntCodec, SearchFindsTheBestUniformQuantizer) {
  EXPECT_NEAR(gaussian_error(4, 0, false, 50) / 0.01154, 1.0, 0.03);
  EXPECT_NEAR(gaussian_error(3, 0, false, 50) / 0.03744, 1.0, 0.10);
}

TEST(IntCodec, ErrorFallsWithBits) {
  for (const bool symmetric : {false, true}) {
    for (const int64_t group : {32, 128}) {
      for (const int steps : {0, 20}) {
        double previous = 1e9;
        for (int bits = 1; bits <= 8; ++bits) {
          const double error = gaussian_error(bits, group, symmetric, steps);
          EXPECT_LT(error, previous) << bits << " bits, group " << group << ", " << steps;
          previous = error;
        }
      }
    }
  }
}

// Per group, under the weights that the search was given.
TEST(IntCodec, SearchIsNeverWorseThanPlain) {
  ThreadPool pool(1);
  const MatrixShape shape{40, 96};
  std::vector<float> importance(static_cast<size_t>(shape.cols));
  Random random(6);
  for (float& x : importance) x = static_cast<float>(random.uniform() * random.uniform());
  for (const bool symmetric : {false, true}) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (const auto& [name, weights] : testing::hard_weights(40 * 96)) {
        if (name == "huge" || name == "largest") continue;  // squares overflow
        const Scheme scheme = int_scheme(bits, 32, symmetric);
        const auto plain = encode(scheme, shape, weights, pool);
        const auto best = encode(scheme, shape, weights, pool, FitOptions{10, importance.data()});
        for (size_t first = 0; first < weights.size(); first += 32) {
          double plain_error = 0;
          double best_error = 0;
          for (size_t i = first; i < first + 32; ++i) {
            const double weight = static_cast<double>(importance[i % 96]);
            const double w = static_cast<double>(weights[i]);
            plain_error += weight * std::pow(w - static_cast<double>(plain.values[i]), 2);
            best_error += weight * std::pow(w - static_cast<double>(best.values[i]), 2);
          }
          ASSERT_LE(best_error, plain_error * (1 + 1e-5) + 1e-30)
              << name << ", " << bits << " bits, group at " << first;
        }
      }
    }
  }
}

TEST(IntCodec, SymmetricExtremeIsExact) {
  ThreadPool pool(1);
  // -0.75 = -8 * 0.09375, a binary16; the positive side clips at 7 steps.
  const std::vector<float> weights = {-0.75F, 0.75F, 0.09375F, 0.0F};
  const auto encoded = encode(int_scheme(4, 0, true), {1, 4}, weights, pool);
  EXPECT_EQ(encoded.values, (std::vector<float>{-0.75F, 0.65625F, 0.09375F, 0.0F}));
  // The mirror image needs a negative scale.
  const std::vector<float> mirrored = {0.75F, -0.75F, -0.09375F, 0.0F};
  const auto negative = encode(int_scheme(4, 0, true), {1, 4}, mirrored, pool);
  EXPECT_EQ(negative.values, (std::vector<float>{0.75F, -0.65625F, -0.09375F, 0.0F}));
}

// The range always includes 0, because the zero point is a code.
TEST(IntCodec, AllPositiveGroupStartsAtZero) {
  ThreadPool pool(1);
  const std::vector<float> weights = {3.0F, 3.25F, 3.5F, 3.75F};
  const auto encoded = encode(int_scheme(4, 0), {1, 4}, weights, pool);
  EXPECT_EQ(encoded.values, (std::vector<float>{3.0F, 3.25F, 3.5F, 3.75F}));  // steps of 1/4
}

TEST(IntFit, RoundsToBinary16LikeTheScalarConversion) {
  for (uint32_t bits = 0; bits < 0x48000000u; bits += 977) {  // up to 131072, all exponents below
    const float x = std::bit_cast<float>(bits);
    const float nearest = std::min(f16_to_float(float_to_f16(x)), 65504.0F);
    ASSERT_EQ(round_to_f16(x), nearest) << x;
    ASSERT_EQ(round_to_f16(-x), -nearest) << x;
    const float truncated = truncate_to_f16(x);
    ASSERT_LE(truncated, x);
    ASSERT_EQ(truncated, f16_to_float(float_to_f16(truncated)));
    const uint16_t next = static_cast<uint16_t>(float_to_f16(truncated) + 1);
    if (truncated < 65504.0F) {
      ASSERT_GT(f16_to_float(next), x);
    }
  }
}

// Other scales, among them a second level of quantization, for every width and hard weights: bits,
// the values that were reported, searches no worse than plain, symbols without loss.
TEST(IntCodec, OtherScales) {
  ThreadPool pool(1);
  const MatrixShape shape{20, 96};
  for (const char* scale : {"f32", "e8m0", "e4m3", "e5m3"}) {
    for (const bool symmetric : {false, true}) {
      for (int bits = 1; bits <= 8; ++bits) {
        SCOPED_TRACE(fmt::format("{} bits, {}, {}", bits, scale, symmetric));
        const Scheme scheme = int_scheme(bits, 16, symmetric, scale);
        for (const auto& [name, weights] : testing::hard_weights(20 * 96)) {
          const auto plain = encode(scheme, shape, weights, pool);
          ASSERT_EQ(testing::decode(scheme, shape, plain.bytes, 0, 20), plain.values) << name;
          for (const float value : plain.values) ASSERT_TRUE(std::isfinite(value)) << name;
          if (name == "huge" || name == "largest" || name == "zero") continue;
          const auto best = encode(scheme, shape, weights, pool, FitOptions{10, nullptr});
          if (bits == 1 && symmetric) continue;  // one rule for both
          ASSERT_LE(relative_mse(weights, best.values),
                    relative_mse(weights, plain.values) * (1 + 1e-5))
              << name;
        }
      }
    }
  }
  const MatrixShape large{4096, 4096};
  const auto bpw = [&](const Scheme& scheme) {
    return 8.0 * static_cast<double>(scheme.codec->encoded_bytes(large, scheme.options)) /
           (4096.0 * 4096.0);
  };
  EXPECT_DOUBLE_EQ(bpw(int_scheme(3, 16, false, "e8m0")), 3 + 8 / 16.0 + 3 / 16.0);
  EXPECT_DOUBLE_EQ(bpw(int_scheme(3, 16, true, "e4m3")), 3 + 8 / 16.0 + 512 / (4096.0 * 4096.0));
}

// Scales of 4 significant bits are off by 1 / 16 at most: little is lost of the distortion, but
// that symmetric groups can no longer choose, by the sign, the side that has one level more.
TEST(IntCodec, ScalesOfOneByteCostLittle) {
  const MatrixShape shape{64, 2048};
  const auto weights = normal_weights(64 * 2048, 11);
  ThreadPool pool;
  const auto error = [&](const Scheme& scheme) {
    return relative_mse(weights,
                        encode(scheme, shape, weights, pool, FitOptions{20, nullptr}).values);
  };
  for (const bool symmetric : {false, true}) {
    for (const char* scale : {"e4m3", "e5m3"}) {
      EXPECT_LT(error(int_scheme(3, 16, symmetric, scale)),
                (symmetric ? 1.30 : 1.05) * error(int_scheme(3, 16, symmetric)))
          << scale << symmetric;
    }
  }
}

TEST(IntCodec, ScalesOfOneByteReadAtFewerBits) {
  ThreadPool pool(1);
  const MatrixShape shape{17, 96};
  const auto weights = normal_weights(17 * 96, 5);
  for (const char* scale : {"f32", "e8m0", "e4m3"}) {
    const Scheme whole = int_scheme(6, 32, false, scale);
    const auto encoded = encode(whole, shape, weights, pool);
    const auto& nested = dynamic_cast<const NestedCodec&>(*whole.codec);
    const Scheme reading = nested.readings(whole.options)[1];
    ASSERT_EQ(reading.options.integer("bits"), 4);
    std::vector<std::byte> bytes(reading.codec->encoded_bytes(shape, reading.options));
    nested.read_as(shape, whole.options, encoded.bytes, reading, bytes);
    const IntLayout from(shape, whole.options);
    const IntLayout to(shape, reading.options);
    for (int64_t row = 0; row < shape.rows; ++row) {
      EXPECT_EQ(to.scale(reinterpret_cast<const uint8_t*>(bytes.data()), row, 1),
                4 * from.scale(reinterpret_cast<const uint8_t*>(encoded.bytes.data()), row, 1));
    }
    EXPECT_LT(relative_mse(encoded.values, testing::decode(reading, shape, bytes, 0, 17)), 0.02);
  }
}

TEST(IntCodec, Labels) {
  EXPECT_EQ(int_scheme(3, 16, true, "e4m3").label(), "int3 g16 sym e4m3");
  EXPECT_EQ(int_scheme(4, 64).label(), "int4 g64");
  EXPECT_EQ(int_scheme(4, 64, true).label(), "int4 g64 sym");
  EXPECT_EQ(int_scheme(8, 0).label(), "int8 row");
}

// Read at fewer bits, codes are rounded again: by hand, and nearly as good as codes of those bits.
TEST(IntCodec, ReadsAtFewerBits) {
  ThreadPool pool(2);
  const auto& nested = dynamic_cast<const NestedCodec&>(*int_scheme(8, 64, true).codec);
  EXPECT_TRUE(nested.readings(int_scheme(2, 64, true).options).empty());
  const MatrixShape shape{33, 300};
  const auto weights = testing::normal_weights(33 * 300, 5);
  for (const bool symmetric : {false, true}) {
    const Scheme whole = int_scheme(8, 32, symmetric);
    const auto encoded = testing::encode(whole, shape, weights, pool);
    const std::vector<Scheme> readings = nested.readings(whole.options);
    ASSERT_EQ(readings.size(), 6u);
    for (const Scheme& reading : readings) {
      SCOPED_TRACE(reading.label());
      std::vector<std::byte> bytes(reading.codec->encoded_bytes(shape, reading.options),
                                   std::byte{0xaa});
      nested.read_as(shape, whole.options, encoded.bytes, reading, bytes);
      const auto values = testing::decode(reading, shape, bytes, 0, shape.rows);
      const auto bits = static_cast<int>(reading.options.integer("bits"));
      const IntLayout from(shape, 8, 32, symmetric);
      const IntLayout to(shape, bits, 32, symmetric);
      const auto* in = reinterpret_cast<const uint8_t*>(encoded.bytes.data());
      const auto* out = reinterpret_cast<const uint8_t*>(bytes.data());
      for (int64_t row = 0; row < shape.rows; ++row) {
        for (int64_t col = 0; col < shape.cols; ++col) {
          const float step = to.scale(out, row, col / 32);
          EXPECT_EQ(step, from.scale(in, row, col / 32) * std::ldexp(1.0F, 8 - bits));
          const auto at = static_cast<size_t>(row * shape.cols + col);
          const float zero = to.zero(out, row, col / 32);
          const float steps = std::nearbyint(encoded.values[at] / step);  // ties to even
          const float nearest =
              std::clamp(steps, -zero, std::ldexp(1.0F, bits) - 1.0F - zero) * step;
          EXPECT_EQ(values[at], nearest);
        }
      }
      // No shift of all weights: the mean error is that of as many independent ones.
      double sum = 0;
      double squares = 0;
      for (size_t i = 0; i < values.size(); ++i) {
        const double error =
            static_cast<double>(values[i]) - static_cast<double>(encoded.values[i]);
        sum += error;
        squares += error * error;
      }
      if (symmetric && bits > 3) {
        EXPECT_LT(std::fabs(sum), 5 * std::sqrt(squares));
      }
      // With m codes in one, rounding twice leaves (m² + 2 + 1) / m² times the error of rounding
      // once, if codes are spread evenly. One end of the range is clamped by half a step: m codes
      // around 0 make a range of 2^bits steps, which has 2^bits + 1 numbers; `symmetric` clamps
      // it anyway.
      const auto direct = testing::encode(reading, shape, weights, pool).values;
      const double m = std::ldexp(1.0, 8 - bits);
      EXPECT_LT(testing::relative_mse(weights, values), (bits == 2   ? 1.5
                                                         : symmetric ? 1.15
                                                                     : 1.35) *
                                                            (1 + 3 / (m * m)) *
                                                            testing::relative_mse(weights, direct));
    }
  }
}

}  // namespace
}  // namespace bitsmith
