// Attention against the plain definition in float64.
#include "runtime/kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "runtime/kernels/targets_test.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

struct Case {
  int64_t heads, kv_heads, head_dim, window;
  double soft_cap = 0;
};

class Attention : public EachTarget {
 protected:
  static ops::AttentionOptions options_of(const Case& c) {
    ops::AttentionOptions options;
    options.heads = c.heads;
    options.kv_heads = c.kv_heads;
    options.head_dim = c.head_dim;
    options.scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
    options.window = c.window;
    options.soft_cap = c.soft_cap;
    return options;
  }

  // Feeds the tokens in pieces of `step`.
  static std::vector<float> run(const Case& c, const std::vector<float>& q,
                                const std::vector<float>& k, const std::vector<float>& v,
                                int64_t tokens, int64_t step, int threads) {
    ThreadPool pool(threads);
    KvCache cache(c.kv_heads, c.head_dim);
    std::vector<float> out(q.size());
    for (int64_t t = 0; t < tokens; t += step) {
      const int64_t n = std::min(step, tokens - t);
      cache.append(k.data() + t * c.kv_heads * c.head_dim, v.data() + t * c.kv_heads * c.head_dim,
                   n);
      attention(q.data() + t * c.heads * c.head_dim, n, cache, options_of(c),
                out.data() + t * c.heads * c.head_dim, pool);
    }
    return out;
  }

  static void check(const Case& c, int64_t tokens) {
    SCOPED_TRACE(fmt::format("{} heads, {} kv, {} channels, window {}, {} tokens", c.heads,
                             c.kv_heads, c.head_dim, c.window, tokens));
    Random random(1);
    const std::vector<float> q = normal_floats(random, tokens * c.heads * c.head_dim, 2.0);
    const std::vector<float> k = normal_floats(random, tokens * c.kv_heads * c.head_dim);
    const std::vector<float> v = normal_floats(random, tokens * c.kv_heads * c.head_dim);
    const std::vector<float> out = run(c, q, k, v, tokens, tokens, 1);
    const auto half = [](float x) { return static_cast<double>(f16_to_float(float_to_f16(x))); };
    const ops::AttentionOptions options = options_of(c);
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t first = c.window > 0 ? std::max<int64_t>(0, t - c.window + 1) : 0;
      for (int64_t h = 0; h < c.heads; ++h) {
        const int64_t kv = h / (c.heads / c.kv_heads);
        const float* query = q.data() + (t * c.heads + h) * c.head_dim;
        std::vector<double> scores;
        double norm = 0;  // the largest sum of |q k| bounds the rounding of a score
        for (int64_t p = first; p <= t; ++p) {
          double dot = 0;
          double magnitude = 0;
          for (int64_t d = 0; d < c.head_dim; ++d) {
            const double product =
                static_cast<double>(query[d]) *
                half(k[static_cast<size_t>((p * c.kv_heads + kv) * c.head_dim + d)]);
            dot += product;
            magnitude += std::abs(product);
          }
          const double score = dot * options.scale;
          scores.push_back(c.soft_cap > 0 ? c.soft_cap * std::tanh(score / c.soft_cap) : score);
          norm = std::max(norm, magnitude * options.scale);
        }
        const double largest = *std::ranges::max_element(scores);
        double sum = 0;
        for (double& s : scores) sum += s = std::exp(s - largest);
        for (int64_t d = 0; d < c.head_dim; ++d) {
          double expected = 0;
          double magnitude = 0;
          for (int64_t p = first; p <= t; ++p) {
            const double value =
                half(v[static_cast<size_t>((p * c.kv_heads + kv) * c.head_dim + d)]);
            expected += scores[static_cast<size_t>(p - first)] / sum * value;
            magnitude += scores[static_cast<size_t>(p - first)] / sum * std::abs(value);
          }
          // A score is off by up to head_dim roundings of its magnitude, which multiplies its
          // exponential; then come the exponential itself, the two sums and the quotient. A cap
          // makes errors smaller, its own is of eight roundings of at most the cap.
          const double terms = 2 * (norm * static_cast<double>(c.head_dim) + 8 * c.soft_cap) +
                               4 * static_cast<double>(t + 8);
          ASSERT_NEAR(out[static_cast<size_t>((t * c.heads + h) * c.head_dim + d)], expected,
                      terms * 0x1p-24 * magnitude + 1e-7)
              << "token " << t << " head " << h << " channel " << d;
        }
      }
    }
    // Any pieces and any number of threads give the same bits.
    EXPECT_EQ(run(c, q, k, v, tokens, 1, 2), out);
    EXPECT_EQ(run(c, q, k, v, tokens, 5, 3), out);
  }
};

TEST_P(Attention, GroupedHeads) {
  check({8, 2, 64, 0}, 37);
  check({4, 4, 32, 0}, 17);
  check({9, 3, 48, 0}, 20);
  check({32, 1, 16, 0}, 9);
}

TEST_P(Attention, OddHeadDimensions) {
  check({2, 1, 1, 0}, 5);
  check({2, 2, 7, 0}, 18);
  check({2, 1, 80, 0}, 19);
  check({1, 1, 128, 0}, 33);
}

TEST_P(Attention, Window) {
  check({4, 2, 16, 1}, 20);
  check({4, 2, 16, 5}, 40);
  check({4, 2, 16, 16}, 50);
  check({4, 2, 16, 100}, 40);
}

TEST_P(Attention, SoftCap) {
  check({4, 2, 16, 0, 1.5}, 37);
  check({8, 4, 24, 5, 0.5}, 40);
  check({2, 1, 7, 0, 50}, 9);
}

TEST_P(Attention, ThousandsOfPositions) {
  const Case c = {2, 1, 16, 0};
  constexpr int64_t kPositions = 5000;
  Random random(2);
  const std::vector<float> k = normal_floats(random, kPositions * 16);
  const std::vector<float> v(k.size(), 0.5F);
  const std::vector<float> q = normal_floats(random, 2 * 16);
  KvCache cache(1, 16);
  cache.append(k.data(), v.data(), kPositions);
  ThreadPool pool(2);
  std::vector<float> out(q.size());
  attention(q.data(), 1, cache, options_of(c), out.data(), pool);
  for (const float x : out) EXPECT_NEAR(x, 0.5F, 1e-5F);  // a mean of equal values
}

TEST_P(Attention, LargeScoresDoNotOverflow) {
  const Case c = {1, 1, 4, 0};
  const std::vector<float> k = {100, 0, 0, 0, -100, 0, 0, 0};
  const std::vector<float> v = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<float> q = {1000, 0, 0, 0};
  KvCache cache(1, 4);
  cache.append(k.data(), v.data(), 2);
  ThreadPool pool(1);
  std::vector<float> out(4);
  attention(q.data(), 1, cache, options_of(c), out.data(), pool);
  EXPECT_EQ(out, (std::vector<float>{1, 2, 3, 4}));
}

TEST_P(Attention, TruncatedPositionsAreForgotten) {
  const Case c = {2, 1, 24, 0};
  Random random(3);
  const std::vector<float> k = normal_floats(random, 30 * 24);
  const std::vector<float> v = normal_floats(random, 30 * 24);
  const std::vector<float> q = normal_floats(random, 2 * 24);
  ThreadPool pool(1);
  KvCache whole(1, 24);
  whole.append(k.data(), v.data(), 30);
  whole.truncate(20);
  whole.append(k.data() + 29 * 24, v.data() + 29 * 24, 1);
  KvCache fresh(1, 24);
  fresh.append(k.data(), v.data(), 20);
  fresh.append(k.data() + 29 * 24, v.data() + 29 * 24, 1);
  std::vector<float> a(q.size());
  std::vector<float> b(q.size());
  attention(q.data(), 1, whole, options_of(c), a.data(), pool);
  attention(q.data(), 1, fresh, options_of(c), b.data(), pool);
  EXPECT_EQ(a, b);
}

BITSMITH_EACH_TARGET(Attention);

}  // namespace
}  // namespace bitsmith
