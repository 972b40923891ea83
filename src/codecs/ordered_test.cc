// Codec `ordered`: which columns share groups, exact sizes, what that is worth, hostile orders.
#include <gtest/gtest.h>

#include "codecs/codec_testing.h"
#include "codecs/column_order.h"

namespace bitsmith {
namespace {

using testing::encode;
using testing::normal_weights;

Scheme ordered(const std::string& inner) { return Scheme("ordered", {{"inner", inner}}); }

const std::string kPairs = R"({"codec":"int","options":{"bits":2,"group":2,"symmetric":true}})";

TEST(Ordered, ColumnsOfLikePowerShareGroups) {
  ThreadPool pool(2);
  // Codes of two bits are -2 to 1 times a scale.
  const std::vector<float> w = {-2, -20, 1,  10,  //
                                1,  10,  -2, -20};
  const auto encoded = encode(ordered(kPairs), {2, 4}, w, pool);
  EXPECT_EQ(encoded.values, w);
  EXPECT_EQ(column_order(4, encoded.bytes), (std::vector<uint32_t>{1, 3, 0, 2}));
  const std::vector<float> importance = {3, 1, 4, 2};
  const FitOptions fit{5, importance.data()};
  EXPECT_EQ(column_order(4, encode(ordered(kPairs), {2, 4}, w, pool, fit).bytes),
            (std::vector<uint32_t>{2, 0, 3, 1}));
}

TEST(Ordered, BitsPerWeightAreExact) {
  const Scheme scheme = ordered(R"({"codec":"int","options":{"bits":4,"group":64}})");
  const Scheme inner("int", {{"bits", 4}, {"group", 64}});
  const MatrixShape shape{512, 4096};
  EXPECT_EQ(scheme.codec->encoded_bytes(shape, scheme.options),
            inner.codec->encoded_bytes(shape, inner.options) + 4 * 4096);
}

// Every second column is ten times louder: in groups of one kind each, less is lost.
TEST(Ordered, LosesLessWhereLoudColumnsAreSpread) {
  ThreadPool pool(2);
  const MatrixShape shape{64, 512};
  std::vector<float> w = normal_weights(64 * 512, 3);
  for (size_t i = 0; i < w.size(); i += 2) w[i] *= 10;
  const std::string inner = R"({"codec":"int","options":{"bits":4,"group":32}})";
  const auto error = [&](const Scheme& scheme) {
    return testing::relative_mse(w, encode(scheme, shape, w, pool).values);
  };
  const double plain = error(Scheme("int", {{"bits", 4}, {"group", 32}}));
  // Quiet columns are a hundredth of the power: the scale of loud ones is what they lose.
  EXPECT_LT(error(ordered(inner)), plain);
}

TEST(Ordered, HostileOrdersLeaveZeros) {
  ThreadPool pool(1);
  const Scheme scheme = ordered(kPairs);
  auto encoded = encode(scheme, {1, 4}, std::vector<float>{1, 1, 1, 1}, pool);
  const std::vector<uint32_t> order = {3, 3, 4, 0xffffffff};
  write_column_order(order, encoded.bytes);
  std::vector<float> values(4);
  scheme.codec->decode({1, 4}, scheme.options, encoded.bytes, 0, 1, values.data());
  EXPECT_EQ(values, (std::vector<float>{0, 0, 0, 1}));
}

}  // namespace
}  // namespace bitsmith
