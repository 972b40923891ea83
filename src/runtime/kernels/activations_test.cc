// Activations rounded to int8: values, padding, blocks.
#include <cmath>

#include "runtime/kernels/linear.h"
#include "runtime/kernels/targets_test.h"

namespace bitsmith {
namespace {

class Int8Form : public EachTarget {};

TEST_P(Int8Form, MatchesPlainRounding) {
  Random random(1);
  for (const int64_t cols : {1, 4, 31, 32, 33, 288}) {
    for (const int64_t group : {4, 20, 32, 64}) {
      for (const int64_t tokens : {1, 3, 16, 37}) {
        std::vector<float> x = normal_floats(random, tokens * cols);
        x[0] = 0;
        ThreadPool pool(2);
        Activations activations(x.data(), tokens, cols);
        const Int8Activations& form = activations.int8(group, pool);
        ASSERT_EQ(form.groups, ceil_div(cols, group));
        for (int64_t t = 0; t < tokens; ++t) {
          const int64_t first = t / Int8Activations::kBlock * Int8Activations::kBlock;
          const int64_t n = std::min(Int8Activations::kBlock, tokens - first);
          for (int64_t g = 0; g < form.groups; ++g) {
            const auto at = static_cast<size_t>(first * form.groups + g * n + t - first);
            float absmax = 0;
            for (int64_t c = g * group; c < std::min(cols, g * group + group); ++c) {
              absmax = std::max(absmax, std::abs(x[static_cast<size_t>(t * cols + c)]));
            }
            ASSERT_EQ(form.scales[at], absmax / 127.0F);
            int32_t sum = 0;
            for (int64_t i = 0; i < group; ++i) {
              const int64_t c = g * group + i;
              const float value = c < cols ? x[static_cast<size_t>(t * cols + c)] : 0.0F;
              const int8_t code =
                  form.codes[at * static_cast<size_t>(group) + static_cast<size_t>(i)];
              const float inverse = absmax > 0 ? 127.0F / absmax : 0.0F;
              ASSERT_EQ(code, static_cast<int>(std::nearbyint(value * inverse)));
              sum += code;
            }
            ASSERT_EQ(form.neg_sums[at], -sum);
          }
        }
      }
    }
  }
}

TEST_P(Int8Form, TinyAndZeroGroups) {
  const std::vector<float> x = {0, 0, 0, 0, 1e-40F, -1e-40F, 0, 0, 1e-30F, 0, 0, 0};
  ThreadPool pool(1);
  Activations activations(x.data(), 1, 12);
  const Int8Activations& form = activations.int8(4, pool);
  EXPECT_EQ(form.scales[0], 0.0F);
  EXPECT_EQ(form.scales[1], 0.0F);
  EXPECT_GT(form.scales[2], 0.0F);
  EXPECT_EQ(form.codes[4], 0);
  EXPECT_EQ(form.codes[8], 127);
}

// Rows on a grid of their own keep it, whatever the groups are.
TEST_P(Int8Form, KeepsRowsThatWereRounded) {
  Random random(4);
  for (const int levels : {1, 7, 127}) {
    for (const int64_t cols : {4, 33, 288}) {
      constexpr int64_t kTokens = 19;
      std::vector<float> x;
      std::vector<int> codes;
      for (int64_t t = 0; t < kTokens; ++t) {
        const float scale = 0.01F * static_cast<float>(t);  // the first token is zero
        for (int64_t c = 0; c < cols; ++c) {
          const auto span = static_cast<uint64_t>(2 * levels + 1);
          const int code = c == 1 ? -levels : static_cast<int>(random.below(span)) - levels;
          codes.push_back(t > 0 ? code : 0);
          x.push_back(scale * static_cast<float>(code));
        }
      }
      ThreadPool pool(2);
      Activations activations;
      activations.reset(x.data(), kTokens, cols, levels);
      const Int8Activations& form = activations.int8(32, pool);
      for (int64_t t = 0; t < kTokens; ++t) {
        const int64_t first = t / Int8Activations::kBlock * Int8Activations::kBlock;
        const int64_t n = std::min(Int8Activations::kBlock, kTokens - first);
        for (int64_t c = 0; c < cols; ++c) {
          const auto at = static_cast<size_t>(first * form.groups + c / 32 * n + t - first);
          ASSERT_EQ(form.codes[at * 32 + static_cast<size_t>(c % 32)],
                    codes[static_cast<size_t>(t * cols + c)]);
          ASSERT_FLOAT_EQ(form.scales[at], 0.01F * static_cast<float>(t));
        }
      }
    }
  }
}

TEST_P(Int8Form, IsMadeAnewAfterReset) {
  const std::vector<float> a = {1, 2, 3, 4};
  const std::vector<float> b = {-8, 2, 3, 4};
  ThreadPool pool(1);
  Activations activations(a.data(), 1, 4);
  EXPECT_EQ(activations.int8(4, pool).codes[3], 127);
  activations.reset(b.data(), 1, 4);
  EXPECT_EQ(activations.int8(4, pool).codes[0], -127);
}

BITSMITH_EACH_TARGET(Int8Form);

}  // namespace
}  // namespace bitsmith
