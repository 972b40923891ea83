// Pooling: windows of pixels, a lane for each channel.
#include "runtime/kernels/pool.h"

#include <algorithm>
#include <limits>

#include "runtime/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/pool.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/requantize-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// body(image, rows, cols, pixel of the output) for all windows.
template <class Body>
HWY_INLINE void for_windows(const PoolShape& s, int64_t images, const Body& body) {
  const int64_t out_height = s.out_height();
  const int64_t out_width = s.out_width();
  int64_t pixel = 0;
  for (int64_t image = 0; image < images; ++image) {
    for (int64_t row = 0; row < out_height; ++row) {
      const PoolShape::Window rows = s.rows(row);
      for (int64_t col = 0; col < out_width; ++col) {
        body(image * s.height * s.width * s.channels, rows, s.cols(col), pixel++);
      }
    }
  }
}

// Vectors of channels, then the channels that are left, one by one: body(tag, first channel).
template <class D, class Body>
HWY_INLINE void for_channels(D d, int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + static_cast<int64_t>(hn::MaxLanes(d)) <= channels;
       c += static_cast<int64_t>(hn::MaxLanes(d))) {
    body(d, c);
  }
  for (; c < channels; ++c) body(hn::CappedTag<hn::TFromD<D>, 1>(), c);
}

template <class T>
HWY_INLINE void max_pool_of(const PoolShape& s, const T* x, int64_t images, T* y, T lowest) {
  for_windows(
      s, images, [&](int64_t image, const auto& rows, const auto& cols, int64_t pixel) HWY_ATTR {
        const T* in = x + image;
        T* out = y + pixel * s.channels;
        for_channels(hn::ScalableTag<T>(), s.channels, [&](auto d, int64_t c) HWY_ATTR {
          auto most = hn::Set(d, lowest);
          for (int64_t row = rows.begin; row < rows.end; row += rows.step) {
            for (int64_t col = cols.begin; col < cols.end; col += cols.step) {
              most = hn::Max(most, hn::LoadU(d, in + (row * s.width + col) * s.channels + c));
            }
          }
          hn::StoreU(most, d, out + c);
        });
      });
}

void max_pool_floats(const PoolShape& shape, const float* x, int64_t images, float* y) {
  max_pool_of(shape, x, images, y, -std::numeric_limits<float>::infinity());
}

void max_pool_codes(const PoolShape& shape, const uint8_t* x, int64_t images, uint8_t* y) {
  max_pool_of<uint8_t>(shape, x, images, y, 0);
}

void average_pool_floats(const PoolShape& s, const float* x, int64_t images, float* y) {
  for_windows(s, images,
              [&](int64_t image, const auto& rows, const auto& cols, int64_t pixel) HWY_ATTR {
                const float* in = x + image;
                float* out = y + pixel * s.channels;
                const auto count = static_cast<float>(rows.count() * cols.count());
                for_channels(hn::ScalableTag<float>(), s.channels, [&](auto d, int64_t c) HWY_ATTR {
                  auto sum = hn::Zero(d);
                  for (int64_t row = rows.begin; row < rows.end; row += rows.step) {
                    for (int64_t col = cols.begin; col < cols.end; col += cols.step) {
                      sum = hn::Add(sum, hn::LoadU(d, in + (row * s.width + col) * s.channels + c));
                    }
                  }
                  hn::StoreU(hn::Div(sum, hn::Set(d, count)), d, out + c);
                });
              });
}

void average_pool_codes(const Int8AveragePool& pool, const uint8_t* x, int64_t images, uint8_t* y) {
  const PoolShape& s = pool.shape;
  for_windows(
      s, images, [&](int64_t image, const auto& rows, const auto& cols, int64_t pixel) HWY_ATTR {
        const uint8_t* in = x + image;
        uint8_t* out = y + pixel * s.channels;
        const auto cells = static_cast<int32_t>(rows.count() * cols.count());
        const Dyadic& scale = pool.scales[static_cast<size_t>(cells)];
        int64_t c = 0;
#if HWY_TARGET != HWY_SCALAR
        const IntsTag di;
        const hn::Rebind<uint8_t, IntsTag> d8;
        const VectorRequantizer requantizer(scale);
        for (; c + static_cast<int64_t>(kPartRows) <= s.channels; c += kPartRows) {
          Ints sum = hn::Set(di, -cells * pool.x_zero);
          for (int64_t row = rows.begin; row < rows.end; row += rows.step) {
            for (int64_t col = cols.begin; col < cols.end; col += cols.step) {
              const auto codes = hn::LoadU(d8, in + (row * s.width + col) * s.channels + c);
              sum = hn::Add(sum, hn::PromoteTo(di, codes));
            }
          }
          store_codes(requantizer(sum, pool.y_zero, pool.y_min, pool.y_max), out + c, kPartRows);
        }
#endif
        for (; c < s.channels; ++c) {
          int32_t sum = -cells * pool.x_zero;
          for (int64_t row = rows.begin; row < rows.end; row += rows.step) {
            for (int64_t col = cols.begin; col < cols.end; col += cols.step) {
              sum += in[(row * s.width + col) * s.channels + c];
            }
          }
          out[c] = requantize(sum, scale, pool.y_zero, pool.y_min, pool.y_max);
        }
      });
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(max_pool_floats);
HWY_EXPORT(max_pool_codes);
HWY_EXPORT(average_pool_floats);
HWY_EXPORT(average_pool_codes);

void max_pool(const PoolShape& shape, const float* x, int64_t images, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(max_pool_floats)(shape, x, images, y);
}

void max_pool(const PoolShape& shape, const uint8_t* x, int64_t images, uint8_t* y) noexcept {
  HWY_DYNAMIC_DISPATCH(max_pool_codes)(shape, x, images, y);
}

void average_pool(const PoolShape& shape, const float* x, int64_t images, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(average_pool_floats)(shape, x, images, y);
}

Int8AveragePool::Int8AveragePool(const PoolShape& pool_shape, double scale, uint8_t x_zero_,
                                 uint8_t y_zero_)
    : shape(pool_shape), x_zero(x_zero_), y_zero(y_zero_) {
  const int64_t most = shape.kernel_h * shape.kernel_w;
  scales.emplace_back();
  for (int64_t n = 1; n <= most; ++n) scales.push_back(make_dyadic(scale / static_cast<double>(n)));
}

void average_pool(const Int8AveragePool& pool, const uint8_t* x, int64_t images,
                  uint8_t* y) noexcept {
  HWY_DYNAMIC_DISPATCH(average_pool_codes)(pool, x, images, y);
}

}  // namespace bitsmith
#endif
