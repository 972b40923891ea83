// Codec `olive`: pairs by hand, what outliers cost beside plain integers, exact sizes.
#include <gtest/gtest.h>

#include <cmath>

#include "codecs/codec_testing.h"
#include "core/error.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::gaussian_error;
using testing::relative_mse;

Scheme olive(int64_t group) { return Scheme("olive", {{"group", group}}); }

TEST(Olive, DecodesEveryPair) {
  // One row of one pair for each code, scale 1: 16 rows are a panel.
  const MatrixShape shape{1, 512};
  std::vector<std::byte> bytes(olive(0).codec->encoded_bytes(shape, olive(0).options));
  ASSERT_EQ(bytes.size(), 256 / 4 * 64 + 64u);
  for (int code = 0; code < 256; ++code) {
    bytes[static_cast<size_t>(code / 4 * 64 + code % 4)] = static_cast<std::byte>(code);
  }
  bytes[256 / 4 * 64] = std::byte{0x00};  // binary16 1
  bytes[256 / 4 * 64 + 1] = std::byte{0x3c};
  const std::vector<float> values = testing::decode(olive(0), shape, bytes, 0, 1);
  const float normal[] = {0, 1, 2, 3, 4, 5, 6, 7, 0, -7, -6, -5, -4, -3, -2, -1};
  const float outlier[] = {0, 12, 16, 24, 32, 48, 64, 96, 0, -12, -16, -24, -32, -48, -64, -96};
  for (size_t low = 0; low < 16; ++low) {
    for (size_t high = 0; high < 16; ++high) {
      const size_t at = 2 * (high * 16 + low);
      EXPECT_EQ(values[at], low == 8 ? 0 : high == 8 ? outlier[low] : normal[low]);
      EXPECT_EQ(values[at + 1], high == 8 ? 0 : low == 8 ? outlier[high] : normal[high]);
    }
  }
}

// A weight in a hundred is twenty times as large: integers of the whole row lose the others.
TEST(Olive, OutliersCostTheirNeighboursOnly) {
  ThreadPool pool(2);
  const MatrixShape shape{64, 512};
  std::vector<float> w = testing::normal_weights(64 * 512, 7);
  for (size_t i = 17; i < w.size(); i += 100) w[i] *= 20.0F;
  const auto error = [&](const Scheme& scheme) {
    return relative_mse(w, encode(scheme, shape, w, pool, FitOptions{20, nullptr}).values);
  };
  const Scheme plain("int", {{"bits", 4}, {"group", 0}, {"symmetric", true}});
  EXPECT_LT(error(olive(0)), 0.4 * error(plain));
}

// Without outliers it is an integer code of 15 levels, and uses the range beyond them a little.
TEST(Olive, LosesLittleOnANormalSource) {
  const double error = gaussian_error(olive(0), 40);
  EXPECT_LT(error, 0.0131);  // the best uniform quantizer of 15 levels: Max 1960, table II
  EXPECT_GT(error, 0.0090);
}

TEST(Olive, BitsPerWeightAreExact) {
  const auto bytes = [](const Scheme& scheme) {
    return static_cast<double>(scheme.codec->encoded_bytes({4096, 4096}, scheme.options));
  };
  EXPECT_DOUBLE_EQ(8 * bytes(olive(64)) / (4096.0 * 4096.0), 4.25);
  EXPECT_THROW(bytes(olive(3)), Error);
}

}  // namespace
}  // namespace bitsmith
