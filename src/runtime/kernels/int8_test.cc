// Integer pools and elementwise operators against plain loops, bit for bit on every target.
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "runtime/kernels/int8_elementwise.h"
#include "runtime/kernels/pool.h"
#include "runtime/kernels/targets_test.h"

namespace bitsmith {
namespace {

std::vector<uint8_t> random_codes(Random& random, int64_t count) {
  std::vector<uint8_t> codes(static_cast<size_t>(count));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random.below(256));
  return codes;
}

class Int8 : public EachTarget {};

TEST_P(Int8, AddAndMultiply) {
  Random random(1);
  for (const int64_t count : {0, 1, 15, 16, 17, 64, 1000}) {
    const std::vector<uint8_t> a = random_codes(random, count);
    const std::vector<uint8_t> b = random_codes(random, count);
    for (const double ratio : {0.01, 0.7, 1.0, 3.0}) {
      Int8Add sum{make_dyadic_pair(0.6, 0.6 * ratio), 100, 3, 128, 0, 255};
      Int8Multiply product{make_dyadic(0.01 * ratio), 100, 3, 128, 0, 255};
      for (const bool clamped : {false, true}) {
        if (clamped) sum.y_min = product.y_min = 128;
        if (clamped) sum.y_max = product.y_max = 220;
        std::vector<uint8_t> y(a.size());
        add(sum, a.data(), b.data(), count, y.data());
        for (size_t i = 0; i < y.size(); ++i) {
          // Multipliers have 21 bits: the result is that of real numbers but near a tie.
          const double exact = 0.6 * (a[i] - 100) + 0.6 * ratio * (b[i] - 3);
          const double code = std::clamp(exact + 128, double(sum.y_min), double(sum.y_max));
          ASSERT_NEAR(y[i], code, 0.5 + 0x1p-11);
          ASSERT_EQ(y[i], sum(a[i], b[i]));
        }
        multiply(product, a.data(), b.data(), count, y.data());
        for (size_t i = 0; i < y.size(); ++i) {
          const double exact = 0.01 * ratio * (a[i] - 100) * (b[i] - 3);
          const double code = std::clamp(exact + 128, double(product.y_min), double(product.y_max));
          ASSERT_NEAR(y[i], code, 0.5 + 0x1p-15);
          ASSERT_EQ(y[i], product(a[i], b[i]));
        }
      }
    }
  }
}

TEST_P(Int8, LookUp) {
  Random random(2);
  Int8Table table;
  for (uint8_t& entry : table) entry = static_cast<uint8_t>(random.below(256));
  for (const int64_t count : {0, 1, 63, 64, 65, 300}) {
    std::vector<uint8_t> x = random_codes(random, count);
    if (count >= 256) std::iota(x.begin(), x.begin() + 256, uint8_t{0});
    std::vector<uint8_t> y(x.size());
    look_up(table, x.data(), count, y.data());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], table[x[i]]);
  }
  const Int8Table rescaled = rescaling_table(0.5, 128, 10);
  EXPECT_EQ(rescaled[128], 10);
  EXPECT_EQ(rescaled[131], 12);  // 1.5 rounds up
  EXPECT_EQ(rescaled[125], 9);   // and so does -1.5
  EXPECT_EQ(rescaled[0], 0);
  EXPECT_EQ(rescaled[255], 74);
}

TEST_P(Int8, QuantizeAndDequantize) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> special = {0.25F,  0.75F,    -0.25F,    -0.75F,        1e30F,
                                      -1e30F, infinity, -infinity, std::nanf(""), -0.0F};
  const std::vector<int> expected = {10, 12, 10, 8, 255, 0, 255, 0, 10, 10};
  std::vector<float> x;
  for (int i = 0; i < 5; ++i) x.insert(x.end(), special.begin(), special.end());
  std::vector<uint8_t> y(x.size());
  quantize(x.data(), 0.5F, 10, static_cast<int64_t>(x.size()), y.data());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], expected[i % 10]) << x[i];

  Random random(3);
  const std::vector<float> values = normal_floats(random, 1000, 30);
  std::vector<uint8_t> codes(values.size());
  std::vector<float> back(values.size());
  quantize(values.data(), 0.3F, 100, 1000, codes.data());
  dequantize(codes.data(), 0.3F, 100, 1000, back.data());
  for (size_t i = 0; i < values.size(); ++i) {
    const float code = std::nearbyintf(values[i] / 0.3F) + 100;
    ASSERT_EQ(codes[i], static_cast<uint8_t>(std::clamp(code, 0.0F, 255.0F)));
    ASSERT_EQ(back[i], static_cast<float>(codes[i] - 100) * 0.3F);
  }
}

std::vector<PoolShape> pool_shapes() {
  std::vector<PoolShape> shapes;
  for (const int64_t channels : {1, 16, 21, 70}) {
    PoolShape s;
    s.channels = channels;
    s.height = 7;
    s.width = 6;
    s.kernel_h = s.kernel_w = 2;
    s.stride_h = s.stride_w = 2;
    shapes.push_back(s);
    s.kernel_h = 3;
    s.pad_top = s.pad_bottom = s.pad_left = 1;
    shapes.push_back(s);
    s.dilation_h = 2;
    s.pad_top = 3;
    s.stride_w = 1;
    shapes.push_back(s);
    s = {channels, 7, 6, 7, 6};  // the whole image
    shapes.push_back(s);
  }
  return shapes;
}

// Visits the cells of one window that lie in the image; returns how many there are.
template <class Visit>
int64_t visit_window(const PoolShape& s, int64_t row, int64_t col, const Visit& visit) {
  int64_t count = 0;
  for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
      const int64_t y = row * s.stride_h + ky * s.dilation_h - s.pad_top;
      const int64_t x = col * s.stride_w + kx * s.dilation_w - s.pad_left;
      if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
      visit((y * s.width + x) * s.channels);
      ++count;
    }
  }
  return count;
}

TEST_P(Int8, Pools) {
  Random random(4);
  const int64_t images = 2;
  for (const PoolShape& s : pool_shapes()) {
    const std::vector<uint8_t> x = random_codes(random, images * s.height * s.width * s.channels);
    std::vector<float> floats(x.begin(), x.end());
    const int64_t rows = s.out_height();
    const int64_t cols = s.out_width();
    const auto size = static_cast<size_t>(images * rows * cols * s.channels);
    std::vector<uint8_t> most(size);
    std::vector<uint8_t> mean(size);
    std::vector<float> float_most(size);
    std::vector<float> float_mean(size);
    max_pool(s, x.data(), images, most.data());
    max_pool(s, floats.data(), images, float_most.data());
    average_pool(s, floats.data(), images, float_mean.data());
    Int8AveragePool average(s, 0.8, 90, 120);
    average.y_min = 120;
    average_pool(average, x.data(), images, mean.data());
    for (size_t i = 0; i < size; ++i) {
      const auto at = static_cast<int64_t>(i);
      const int64_t c = at % s.channels;
      const int64_t pixel = at / s.channels;
      const int64_t image = pixel / (rows * cols) * s.height * s.width * s.channels;
      int largest = -1;
      int32_t sum = 0;
      int32_t centred = 0;
      const int64_t cells =
          visit_window(s, pixel / cols % rows, pixel % cols, [&](int64_t position) {
            const int code = x[static_cast<size_t>(image + position + c)];
            largest = std::max(largest, code);
            sum += code;
            centred += code - 90;
          });
      ASSERT_EQ(most[i], largest);
      ASSERT_EQ(float_most[i], static_cast<float>(largest));
      ASSERT_EQ(float_mean[i], static_cast<float>(sum) / static_cast<float>(cells));
      const double exact = 0.8 * centred / static_cast<double>(cells) + 120;
      ASSERT_NEAR(mean[i], std::clamp(exact, 120.0, 255.0), 0.5 + 1e-6);
      const Dyadic scale = make_dyadic(0.8 / static_cast<double>(cells));
      ASSERT_EQ(mean[i], requantize(centred, scale, 120, 120, 255));
    }
  }
}

BITSMITH_EACH_TARGET(Int8);

}  // namespace
}  // namespace bitsmith
