// Codec `outliers`: what it keeps, and that it saves the codes of the rest.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "codecs/codec_testing.h"
#include "core/random.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::relative_mse;

Scheme outliers(double fraction, const std::string& inner) {
  return Scheme("outliers", {{"fraction", fraction}, {"inner", inner}});
}

const std::string kInt3 = R"({"codec":"int","options":{"bits":3,"group":64}})";

// A Gaussian source in which one weight of a hundred is twenty times as large.
std::vector<float> with_outliers(const MatrixShape& shape) {
  Random random(7);
  std::vector<float> w(static_cast<size_t>(shape.rows * shape.cols));
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] = static_cast<float>(random.normal()) * (i % 100 == 17 ? 20.0F : 1.0F);
  }
  return w;
}

TEST(Outliers, KeepsTheLargestOfEachRowToBinary16) {
  const MatrixShape shape{8, 200};
  const std::vector<float> w = with_outliers(shape);
  ThreadPool pool(2);
  const auto encoded = encode(outliers(0.01, kInt3), shape, w, pool);
  for (int64_t row = 0; row < shape.rows; ++row) {
    std::vector<int64_t> order(200);
    for (int64_t c = 0; c < 200; ++c) order[static_cast<size_t>(c)] = row * 200 + c;
    std::ranges::sort(order, std::greater<>(),
                      [&](int64_t i) { return std::abs(w[static_cast<size_t>(i)]); });
    for (size_t k = 0; k < 2; ++k) {
      const auto i = static_cast<size_t>(order[k]);
      EXPECT_NEAR(encoded.values[i], w[i], std::abs(w[i]) / 2048);
    }
  }
}

TEST(Outliers, SavesTheRangeOfTheOthers) {
  const MatrixShape shape{64, 512};
  const std::vector<float> w = with_outliers(shape);
  ThreadPool pool(2);
  const Scheme plain("int", {{"bits", 3}, {"group", 64}});
  const auto error = [&](const Scheme& scheme) {
    double sum = 0;
    const auto encoded = encode(scheme, shape, w, pool);
    for (size_t i = 0; i < w.size(); ++i) {
      const double d = static_cast<double>(w[i]) - static_cast<double>(encoded.values[i]);
      sum += d * d;
    }
    return sum;
  };
  EXPECT_LT(error(outliers(0.02, kInt3)), 0.1 * error(plain));
  // Columns of two bytes and values of two, for 10 weights of each row.
  const Scheme scheme = outliers(0.02, kInt3);
  EXPECT_EQ(scheme.codec->encoded_bytes(shape, scheme.options),
            plain.codec->encoded_bytes(shape, plain.options) + 64 * 10 * 4);
}

// Columns of four bytes; columns that do not exist, or come twice.
TEST(Outliers, ReadsWideRowsAndHostileColumns) {
  const MatrixShape shape{2, 70000};
  const std::vector<float> w = with_outliers(shape);
  ThreadPool pool(2);
  const Scheme scheme = outliers(0.0001, R"({"codec":"int","options":{"bits":2,"group":0}})");
  auto encoded = encode(scheme, shape, w, pool);
  EXPECT_EQ(testing::decode(scheme, shape, encoded.bytes, 0, 2), encoded.values);
  const size_t own = 2 * 7 * 6;  // 7 outliers of each row, of 4 and 2 bytes
  ASSERT_GT(encoded.bytes.size(), own);
  std::byte* columns = encoded.bytes.data() + encoded.bytes.size() - own;
  std::fill_n(columns, 4, std::byte{0xff});  // beyond the row
  std::copy_n(columns + 8, 4, columns + 4);  // the second is the third
  const std::vector<float> values = testing::decode(scheme, shape, encoded.bytes, 0, 2);
  ASSERT_EQ(values.size(), encoded.values.size());
  int64_t changed = 0;
  for (size_t i = 0; i < values.size(); ++i) changed += values[i] != encoded.values[i];
  EXPECT_EQ(changed, 2);  // the two that lost their places
}

// Columns that are coded together too.
TEST(Outliers, WorksOverCodecsOfBlocks) {
  const MatrixShape shape{16, 256};
  const std::vector<float> w = with_outliers(shape);
  ThreadPool pool(2);
  for (const char* inner : {R"({"codec":"e8","options":{}})", R"({"codec":"pvq","options":{}})"}) {
    const auto encoded = encode(outliers(0.02, inner), shape, w, pool);
    EXPECT_EQ(testing::decode(outliers(0.02, inner), shape, encoded.bytes, 0, 16), encoded.values);
    const auto alone = nlohmann::json::parse(inner);
    const Scheme plain(alone["codec"].get<std::string>(), alone["options"]);
    EXPECT_LT(relative_mse(w, encoded.values),
              0.6 * relative_mse(w, encode(plain, shape, w, pool).values));
  }
}

}  // namespace
}  // namespace bitsmith
